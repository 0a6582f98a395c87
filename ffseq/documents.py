"""Many documents as one text, in a stated order: a folder, a .zip, the rows of a table.

Documents of a folder and of a .zip are their .txt and .md files, whatever their case, sorted by path as strings are
(the path below the folder, with `/`); hidden ones are left out. A .zip of one file is that text, whatever its name.
Nothing of a .zip is written to disk. Empty documents are left out.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from ffseq.errors import FfseqError
from ffseq.textfile import CHUNK, Scan, Stretch, TextFile, decoded, scanned

#: What a document of a folder or of a .zip ends with.
ENDINGS = (".txt", ".md")
#: Characters gathered from short documents before they are handed on together.
GATHERED = 1 << 20
#: A .zip may be so many times larger unpacked than packed, beyond the first SMALL bytes.
RATIO, SMALL = 100, 1 << 24

#: The name of each document, and its text in pieces.
Read = Callable[[], Iterator[tuple[str, Iterable[str]]]]


class Documents:
    """Documents that are read as often as needed and never held together.

    name: what they are called together; read: begins to read them from the first; scan: what a pass over them tells,
    if it is known.
    """

    def __init__(self, name: str, read: Read, *, scan: Scan | None = None) -> None:
        self.name, self.read = name, read
        self._scan = scan

    def stretches(self) -> Iterator[Stretch]:
        """The documents in order, short ones gathered and long ones in pieces."""
        texts: list[str] = []
        begins: list[int] = []
        names: list[str] = []
        size = 0
        for name, pieces in self.read():
            begun = False
            for piece in filter(None, pieces):
                if not begun:
                    begins.append(size)
                    names.append(name)
                    begun = True
                texts.append(piece)
                size += len(piece)
                if size >= GATHERED:
                    yield Stretch("".join(texts), begins, names)
                    texts, begins, names, size = [], [], [], 0
        if size:
            yield Stretch("".join(texts), begins, names)

    def scan(self) -> Scan:
        """Read through once; the result is kept. Raises FfseqError where there is no text."""
        if self._scan is None:
            self._scan = scanned(self.stretches(), self.name)
        return self._scan


#: A text, of one document or many.
Text = TextFile | Documents


def is_document(path: PurePosixPath) -> bool:
    """Whether a path (below a folder, or in a .zip) is that of a document."""
    return path.suffix.lower() in ENDINGS and not _hidden(path)


def files_below(folder: Path) -> list[PurePosixPath]:
    """The paths of all files below a folder that are not hidden, sorted. Raises FfseqError."""
    found = []
    try:
        for place, folders, files in os.walk(folder, onerror=_raised):
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths = [Path(place) / name for name in files]
            found += [PurePosixPath(path.relative_to(folder).as_posix()) for path in paths if path.is_file()]
    except OSError as error:
        raise FfseqError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    return sorted((path for path in found if not _hidden(path)), key=str)


def folder_documents(folder: Path, paths: Iterable[PurePosixPath]) -> Documents:
    """The documents at these paths below a folder."""
    kept = list(paths)

    def read() -> Iterator[tuple[str, Iterable[str]]]:
        for path in kept:
            name = f"{folder.name}/{path}"
            yield name, TextFile(folder / path, name).texts()

    return Documents(folder.name, read)


def zip_documents(path: Path) -> Documents:
    """The documents in a .zip.

    Raises FfseqError, here or while they are read, for an archive that is damaged, encrypted, without texts, with
    paths that lead out of it, or that unpacks to far more than its size.
    """

    def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
        with _readable(path), archive.open(member) as file:
            while data := file.read(CHUNK):
                yield data

    def read() -> Iterator[tuple[str, Iterable[str]]]:
        with _readable(path), zipfile.ZipFile(path) as archive:
            for member in _members(path, archive):
                name = f"{path.name}, {member.filename}"
                yield name, decoded(unpacked(archive, member), name)

    with _readable(path), zipfile.ZipFile(path) as archive:
        _members(path, archive)
    return Documents(path.name, read)


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The documents of an archive, sorted. Raises FfseqError for an archive that is not to be trusted."""
    files = [member for member in archive.infolist() if not member.is_dir()]
    for member in files:
        inside = PurePosixPath(member.filename)
        if inside.is_absolute() or ".." in inside.parts or re.search(r"\\|^[A-Za-z]:", member.filename):
            raise FfseqError(
                f"{path} has a member {member.filename!r}, whose path leads out of the archive: it is not read. Pack "
                "the texts again, with paths below one folder"
            )
    files = [member for member in files if not _hidden(PurePosixPath(member.filename))]
    documents = [member for member in files if is_document(PurePosixPath(member.filename))]
    if not documents and len(files) == 1:
        documents = files
    if not documents:
        raise FfseqError(f"{path} holds no texts: its members that end in {' or '.join(ENDINGS)} would be read")
    for member in documents:
        if member.flag_bits & 1:
            raise FfseqError(f"{path}, {member.filename} is encrypted: unpack it, and give the folder")
    # What a member says of its size is what is read of it at most: zipfile takes no more, and refuses it if there is.
    if sum(member.file_size for member in documents) > SMALL + RATIO * path.stat().st_size:
        raise FfseqError(
            f"{path} unpacks to more than {RATIO} times its size, as no text does: it is not read. If it is what you "
            "want, unpack it, and give the folder"
        )
    return sorted(documents, key=lambda member: member.filename)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what the reading of an archive raises into an FfseqError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise FfseqError(f"{path} is damaged or cut short: {error}") from error
    except NotImplementedError as error:
        raise FfseqError(f"{path} is packed in a way that cannot be read ({error}): pack it again") from error
    except OSError as error:
        raise FfseqError(f"cannot read {path}: {error.strerror or error}") from error


def _hidden(path: PurePosixPath) -> bool:
    """Hidden files, and what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _raised(error: OSError) -> None:
    raise error
