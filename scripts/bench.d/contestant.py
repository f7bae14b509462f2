"""What every contestant can do, so that the same rows can be measured on each."""

import contextlib
import shutil


class Device:
    """A directory in which another device sees the same files, and none of their content is here yet."""

    def __init__(self, directory, traffic=None):
        self.directory = directory
        self._traffic = traffic

    def traffic(self):
        """Bytes received and requests sent so far, each None where nobody counts them."""
        return self._traffic() if self._traffic else {"bytes": None, "requests": None}


class Contestant:
    """A directory to work in. Each kind of it says how what is written there gets to where it is going."""

    name = None
    directory = None
    is_remote = False  # is there a server behind it?
    is_patient = True  # can it be asked for very many files?

    def settle(self):
        """Returns when all that was written has arrived: on the server, or on the disk where there is no server."""
        raise NotImplementedError

    def populate(self, source, name):
        """Puts a file or directory there, untimed and by whatever way is the quickest."""
        copy(source, self.directory / name)
        self.settle()

    def restart(self):
        """Begins anew with what is stored on this machine, and nothing of it in memory."""
        raise NotImplementedError

    @contextlib.contextmanager
    def fresh(self):
        """Yields a device that has nothing in memory and, where there is a server, no content on its disk."""
        self.restart()
        yield Device(self.directory)

    def close(self):
        """Ends what was started."""


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
