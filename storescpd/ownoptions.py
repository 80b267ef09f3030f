"""The daemon's rows that the reference does not have: how it starts, runs and ends."""

from dcmstore.optiontable import (
    KEYWORD,
    OCTAL,
    UNSIGNED,
    Option,
    Section,
    Value,
    not_with,
    only_with,
)

# Sockets are taken over and log files opened in the midst of the evaluation; what that depends on
# comes before.
_EARLY = "process"

# Nobody listens under inetd; there is one association, and inetd's limits are in force.
_LISTENING = (not_with("--inetd"),)

OURS = Section(
    "storescpd options",
    "",
    "ours",
    (
        Option(
            "",
            "--conf",
            "options from file f, one to a line; those given here go before them",
            (Value("filename"),),
        ),
        Option(
            "",
            "--check-config",
            "look for mistakes in the options and in what they name, then exit",
            stage=_EARLY,
        ),
        Option(
            "",
            "--bind",
            "listen on address a, a number or a host name; may be given more than once",
            (Value("address"),),
            default_text="all",
            repeatable=True,
            checks=(not_with("--inetd", "--inetd-wait"),),
        ),
        Option(
            "",
            "--inetd-wait",
            "take over a listening socket from standard input, as a child of inetd",
            stage="inetd",
            checks=_LISTENING,
        ),
        Option(
            "",
            "--idle-exit",
            "end when nobody was served for s seconds",
            (Value("seconds", UNSIGNED, 1),),
            default_text="never",
            checks=_LISTENING,
        ),
        Option(
            "",
            "--max-associations-per-peer",
            "reject associations of an address that has n already (only with --fork)",
            (Value("n", UNSIGNED, 1),),
            default_text="unlimited",
            checks=(only_with("--fork"),),
        ),
        Option(
            "",
            "--on-limit",
            "at --max-associations, let further peers wait or reject them (only with --fork):"
            " wait or reject",
            (Value("action", KEYWORD, words=("wait", "reject")),),
            default="wait",
            checks=(only_with("--fork"),),
        ),
        Option(
            "",
            "--fsync",
            "have each object on the disk, safe from a power failure, before it is answered",
        ),
        Option(
            "",
            "--sort-bit-preserving",
            "sort into subdirectories with --bit-preserving too; data sets are read then",
        ),
        Option(
            "",
            "--store-unparseable",
            "store data sets that cannot be parsed as received, instead of aborting",
        ),
        Option(
            "",
            "--grace-period",
            "when told to stop, let associations go on for s seconds",
            (Value("seconds", UNSIGNED),),
            default=30,
        ),
        Option(
            "",
            "--daemon",
            "detach from the terminal",
            checks=(not_with("--inetd", "--inetd-wait"),),
        ),
        Option(
            "",
            "--pid-file",
            "keep the process id in file f, which also keeps a second daemon away",
            (Value("filename"),),
            checks=_LISTENING,
        ),
        Option(
            "",
            "--user",
            "become user u, a name or a number",
            (Value("user"),),
            stage=_EARLY,
        ),
        Option(
            "",
            "--group",
            "become group g, a name or a number",
            (Value("group"),),
            default_text="the user's",
            stage=_EARLY,
        ),
        Option(
            "",
            "--umask",
            "take the permissions in m from all files and directories made",
            (Value("mask", OCTAL, high=0o777),),
            default_text="unchanged",
            stage=_EARLY,
        ),
        Option(
            "",
            "--chdir",
            "go to directory d when everything is open",
            (Value("directory"),),
            default_text="unchanged; / with --daemon",
        ),
        Option(
            "",
            "--syslog",
            "log to syslog, facility daemon, and not to standard error; so does --daemon",
            checks=(not_with("--log-config"),),
        ),
    ),
    ours=True,
)
