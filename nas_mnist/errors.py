"""The one family of errors that a user of nas-mnist can meet."""

INTERRUPTED = 130  # exit code of a command or a worker that was told to stop


class NasMnistError(Exception):
    """The work failed: one line that names the thing, the rule, the value and a way out."""

    exit_code = 1


class RequestError(NasMnistError):
    """The request was wrong: nothing was started, nothing was changed."""

    exit_code = 2


class ArchitectureError(RequestError):
    """A network that does not exist, or a notation that does not describe one."""


class StudyError(RequestError):
    """A study that is missing, or that belongs to another request."""


class OthersError(StudyError):
    """A database that is in use, and has no study of this name."""


class DataError(NasMnistError):
    """Data files that are missing, unreadable, truncated or corrupt."""


class StorageError(NasMnistError):
    """A database or an artifact folder that does not answer or cannot be written."""


class DivergedError(NasMnistError):
    """A network whose loss is no longer a number."""


class WorkerError(NasMnistError):
    """A worker process that died of something other than its trial."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of the ways in which Python and torch say so."""
    known, said = ("out of memory", "not enough memory", "can't allocate"), str(error).lower()
    is_said = isinstance(error, RuntimeError) and any(words in said for words in known)
    return isinstance(error, MemoryError) or is_said


def reason(error: OSError) -> str:
    """What the system says went wrong, without its number."""
    return error.strerror or str(error) or type(error).__name__
