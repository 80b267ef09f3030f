"""Where an object goes: its folder, if objects are sorted by study, and its name in there.

What is decided for one object depends on those before it (which study is open, which serial
number was the last of this millisecond), so there is one ``Placement`` for all associations of
a process. Names that follow from the request alone do not come by here.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from dcmstore.command import StoreRequest
from dcmstore.dataset import Findings
from storescpd import naming
from storescpd.temporary import Folder

if TYPE_CHECKING:
    from storescpd.studies import Studies

log = logging.getLogger("dcmtk.apps.storescp")

Clock = Callable[[], float]


class Naming(NamedTuple):
    """How files and the folders of studies are named.

    ``files`` is ``default-filenames``, ``unique-filenames`` or ``timenames``; ``sort`` is the
    name of an option of ``--sort-conc-studies``'s block with its prefix, or None.
    """

    files: str
    extension: str
    sort: str | None
    prefix: str


class Place(NamedTuple):
    """A folder that is there, and a name in it.

    With ``exclusive`` another file must not lose its name to this one; ``Placement.another``
    has more names.
    """

    folder: Folder
    name: str
    exclusive: bool


class NoStudyError(Exception):
    """There is no folder to sort the object into; the text is one line."""


class NoFolderError(Exception):
    """The object's place would be ``name`` in ``folder``, but that cannot be used."""

    def __init__(self, folder: str, name: str, reason: str) -> None:
        super().__init__(reason)
        self.folder = folder
        self.name = name
        self.reason = reason


class Placement:
    """Places objects in ``folder`` or below it."""

    def __init__(
        self, folder: Folder, names: Naming, studies: "Studies | None", clock: Clock = time.time
    ) -> None:
        """``studies`` keeps track of the open study; it is there if objects are sorted."""
        self._folder = folder
        self._names = names
        self._studies = studies
        self._clock = clock
        self._time_names = naming.TimeNames()
        self._study_folder: Folder | None = None
        self._study_error = ""
        self._begins_anew = False

    @property
    def sorts(self) -> bool:
        """Whether objects go into folders by study, for which their data sets must be read."""
        return self._studies is not None

    def look_up(self) -> None:
        """Before an association: have the open study begin anew if it has no folder.

        It could not be made, or was moved away; the sender may try again.
        """
        self._begins_anew = self._study_folder is None or not self._study_folder.is_in_place()

    def place(self, request: StoreRequest, findings: Findings | None) -> Place:
        """Return the place for an object; without findings, in the main folder.

        Opens its study's folder, and makes it if it is not there. Raises NoStudyError, and
        NoFolderError for a study whose folder cannot be used.
        """
        now = self._clock()
        folder = self._folder
        if self._studies is not None and findings is not None:
            folder = self._sorted(self._studies, request, findings, now)
        return Place(folder, self._name(request, folder, now), self._names.files == "timenames")

    def another(self, request: StoreRequest, place: Place) -> str:
        """Return another name, as the last one is taken."""
        return self._name(request, place.folder, self._clock())

    def stored(self, place: Place) -> None:
        """Note a file of the open study."""
        if self._studies is not None and place.folder is not self._folder:
            self._studies.stored(place.name)

    def _name(self, request: StoreRequest, folder: Folder, now: float) -> str:
        sop_class, extension = request.sop_class, self._names.extension
        if self._names.files == "timenames":
            return self._time_names.next(now, sop_class, extension, folder.path)
        if self._names.files == "unique-filenames":
            return naming.unique_name(sop_class, extension, os.urandom(16))
        name, replaced = naming.object_name(sop_class, request.sop_instance, extension)
        if replaced:
            log.warning("%s", naming.replaced_warning(request.sop_instance))
        return name

    def _sorted(
        self, studies: "Studies", request: StoreRequest, findings: Findings, now: float
    ) -> Folder:
        study = findings.study_instance
        if not study:
            raise NoStudyError("element StudyInstanceUID (0020,000d) absent or empty in data set")
        if self._begins_anew or studies.folder(study) is None:
            self._begins_anew = False
            self._begin(studies, findings, now)
        if self._study_folder is None:
            name = self._name(request, self._folder, now)
            raise NoFolderError(studies.folder(study) or "", name, self._study_error)
        return self._study_folder

    def _begin(self, studies: "Studies", findings: Findings, now: float) -> None:
        """Make and open the folder of another study. Raises NoStudyError."""
        if self._study_folder is not None:
            self._study_folder.close()
            self._study_folder = None
        wanted = self._wanted(findings, now)
        try:
            made = self._make(wanted.name)
            while not made and self._names.sort != "sort-on-study-uid":
                # Another study began in the same millisecond.
                now += 0.001
                wanted = self._wanted(findings, now)
                made = self._make(wanted.name)
        except OSError as error:
            self._study_error = error.strerror or str(error)
            path = self._folder.join(wanted.name)
            raise NoStudyError(f"could not create subdirectory for study: {path}") from error
        finally:
            # A study whose folder cannot be made is open all the same, and in this association not
            # tried again.
            studies.begin(findings.study_instance, self._folder.join(wanted.name))
        for warning in wanted.warnings:
            log.warning("%s", warning)
        what = "created new" if made else "using existing"
        log.info("%s subdirectory for study: %s", what, self._folder.join(wanted.name))
        try:
            self._study_folder = Folder(wanted.name, self._folder)
        except OSError as error:
            self._study_error = error.strerror or str(error)

    def _wanted(self, findings: Findings, now: float) -> naming.Folder:
        match self._names.sort:
            case "sort-conc-studies":
                return naming.run_folder(self._names.prefix, now)
            case "sort-on-study-uid":
                return naming.study_folder(self._names.prefix, findings.study_instance)
        charset = findings.character_set.decode("latin-1")
        return naming.patient_folder(findings.patient_name, charset, now)

    def _make(self, name: str) -> bool:
        """Make a folder; return whether it is new. Raises OSError."""
        try:
            os.mkdir(name, 0o777, dir_fd=self._folder.fd)
            self._folder.sync()
        except FileExistsError:
            return False
        return True
