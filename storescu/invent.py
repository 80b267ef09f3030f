"""New identities for objects: patients, studies, series and instances that do not exist.

Made by counting, as the reference does, so that a receiver under test can be filled with as
many patients, studies and series as are wanted. UIDs are random (PS3.5 annex B.2).
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dcmstore import replacing, uids
from dcmstore.dataset import Encoded, Findings, OutputOptions
from dcmstore.headers import name

log = logging.getLogger("dcmtk.apps.storescu")

_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_STUDY_UID, _STUDY_ID = 0x0020000D, 0x00200010
_SERIES_UID, _SERIES_NUMBER = 0x0020000E, 0x00200011
_INSTANCE_UID, _INSTANCE_NUMBER = 0x00080018, 0x00200013
# In the order of messages about them, with the keywords that these have.
_KEYWORDS = {
    _PATIENT_NAME: "PatientName",
    _PATIENT_ID: "PatientID",
    _STUDY_UID: "StudyInstanceUID",
    _STUDY_ID: "StudyID",
    _SERIES_UID: "SeriesInstanceUID",
    _SERIES_NUMBER: "SeriesNumber",
    _INSTANCE_UID: "SOPInstanceUID",
    _INSTANCE_NUMBER: "InstanceNumber",
}
_SHOWN_AS = {_INSTANCE_NUMBER: "ImageNumber"}


class Sizes(NamedTuple):
    """How many objects make a series, series a study, and studies a patient; 1 or more."""

    series: int
    study: int
    patient: int


class Identity:
    """What one object is given, by tag, and once it has been, what of that it did not take.

    ``counters`` are for the log: of patients, of studies of this one, and so on.
    """

    def __init__(self, counters: str, values: Mapping[int, str]) -> None:
        self.counters = counters
        self.values = values
        self._refusals: dict[int, replacing.Refusal] = {}

    def give(
        self, data: Encoded, start: int, transfer_syntax: str, output: OutputOptions
    ) -> Findings:
        """Lay out a data set with this identity; for the rest as `dcmstore.elements.inspect`."""
        found, self._refusals = replacing.replace(
            data, start, len(data), transfer_syntax, output, self.values
        )
        return found

    def tell(self) -> None:
        """Log what was invented, and what was not put in."""
        log.info("Inventing Identifying Information (%s):", self.counters)
        for tag, keyword in _KEYWORDS.items():
            log.info("  %s=%s", _SHOWN_AS.get(tag, keyword), self.values[tag])
        for tag, keyword in _KEYWORDS.items():
            refusal = self._refusals.get(tag)
            if refusal is not None:
                log.error(
                    "updateStringAttributeValue: %s: %s %s: %s",
                    refusal.what,
                    keyword,
                    name(tag),
                    refusal.reason,
                )


class Inventor:
    """Makes the identities of a run, one after the other."""

    def __init__(
        self,
        sizes: Sizes,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._sizes = sizes
        self._clock = clock
        self._entropy = entropy
        self._images = self._series = self._studies = self._patients = 0
        self._values: dict[int, str] = {}
        self._new_series()
        self._new_study()
        self._new_patient()

    def next(self) -> Identity:
        """Return the identity of the next object."""
        if self._images >= self._sizes.series:
            self._images = 0
            self._series += 1
            self._new_series()
        if self._series >= self._sizes.study:
            # The series keeps its number: that of the first one of this study is not 0.
            self._series = 0
            self._studies += 1
            self._new_study()
        if self._studies >= self._sizes.patient:
            self._studies = 0
            self._patients += 1
            self._new_patient()
        self._values[_INSTANCE_UID] = self._new_uid()
        self._values[_INSTANCE_NUMBER] = str(self._images)
        counters = f"pa{self._patients}, st{self._studies}, se{self._series}, im{self._images}"
        self._images += 1
        return Identity(counters, dict(self._values))

    def _new_series(self) -> None:
        self._values[_SERIES_UID] = self._new_uid()
        self._values[_SERIES_NUMBER] = str(self._series)

    def _new_study(self) -> None:
        self._values[_STUDY_UID] = self._new_uid()
        self._values[_STUDY_ID] = f"SID_{self._seconds()}{self._studies}"

    def _new_patient(self) -> None:
        self._values[_PATIENT_NAME] = f"OFFIS^TEST_PN_{self._seconds()}{self._patients}"
        self._values[_PATIENT_ID] = f"PID_{self._seconds()}{self._patients}"

    def _seconds(self) -> int:
        return int(self._clock())

    def _new_uid(self) -> str:
        return uids.new_uid(self._entropy(16))
