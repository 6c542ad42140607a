"""Frames of a video as images: evenly sampled, decoded together when the first is needed.

Needs PyAV (the extra `video`), which is imported when a video is opened.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.errors import DataError, MissingExtra

MAX_PIXELS_HELD = 400_000_000
"""Pixels of all frames of a video that are in memory together: about 1 GB."""
MAX_BYTES = 1 << 30
"""Bytes of a video in an archive."""
_ENOUGH = 0.95  # an edit list may hide a few of the frames that a file declares
_CONTAINERS = {"format_whitelist": "mov,mp4"}
"""A text file named .mp4 can name other files, which FFmpeg would follow."""


@dataclass(frozen=True)
class Video:
    """A video file."""

    path: Path
    """The file, or the zip archive that holds it."""
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video."""

    decode: Callable[[], list[np.ndarray]]
    """All frames that are sampled from the video."""
    index: int
    identity: str
    """Of the video's bytes and the frame's place."""

    def pixels(self) -> np.ndarray:
        return self.decode()[self.index]

    def content(self) -> bytes:
        return self.identity.encode()


def find_video(folder: Path, dataset: str, scene: str) -> Video | None:
    """A scene's video, DATASET/SCENE.mp4 or in DATASET.zip; a `DataError` for a damaged archive."""
    path = folder / dataset / f"{scene}.mp4"
    if path.is_file():
        return Video(path)
    archive = folder / f"{dataset}.zip"
    if not archive.is_file():
        return None
    try:
        with zipfile.ZipFile(archive) as opened:
            names = set(opened.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: not a readable zip archive: {error}") from None
    inside = (name for name in (f"{dataset}/{scene}.mp4", f"{scene}.mp4") if name in names)
    return next((Video(archive, name) for name in inside), None)


def inspect(video: Video, count: int) -> tuple[str | None, int]:
    """What is wrong with a video of which `count` frames are wanted (None: nothing); its frames.

    All packets are read, so that a file that was cut short is noticed, and the key frames decoded,
    on which all other frames depend, so that damaged content is noticed too.
    """
    try:
        with _opened(video) as (container, stream):
            size = stream.codec_context.width * stream.codec_context.height
            packets = [packet for packet in container.demux(stream) if packet.size]
            declared = stream.frames
        keys = sum(packet.is_keyframe for packet in packets)
        with _opened(video) as (container, stream):
            stream.codec_context.skip_frame = "NONKEY"
            broken = keys - sum(1 for _ in _decoded(container, stream))
    except _errors() as error:
        return f"cannot be read as a video: {_reason(error)}", 0
    found = sum(not packet.is_corrupt for packet in packets)
    if not found or found < declared * _ENOUGH or found < len(packets):
        return f"is damaged: {found} of {max(declared, len(packets))} frames can be read", found
    if broken > (1 - _ENOUGH) * keys:
        return f"is damaged: {broken} of {keys} key frames cannot be decoded", found
    if min(count, found) * size > MAX_PIXELS_HELD:
        return f"has {size:,} pixels a frame, too many for {count} frames", found
    return None, found


def content_hash(video: Video) -> str:
    """SHA-256 of a video's bytes, or a `DataError` where it cannot be read."""
    try:
        with video.path.open("rb") if video.member is None else _extracted(video) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{video}: cannot be read: {_reason(error)}") from None


def sample_frames(video: Video, total: int, count: int) -> list[np.ndarray]:
    """`count` frames (height, width, 3), spread evenly from the first to the last of `total`.

    All frames if the video has fewer. As in VSI-Bench's code, the places are those of `linspace`,
    rounded down.

    Raises:
        DataError: the video cannot be decoded.
    """
    wanted = np.linspace(0, total - 1, min(count, total)).astype(int).tolist()
    frames: list[np.ndarray] = []
    last, number = None, 0
    try:
        with _opened(video) as (container, stream):
            stream.thread_type = "AUTO"
            for number, last in enumerate(_decoded(container, stream), 1):
                if wanted[len(frames)] == number - 1:
                    frames.append(last.to_ndarray(format="rgb24"))
                if len(frames) == len(wanted):
                    return frames
    except _errors() as error:
        raise DataError(f"{video}: cannot be decoded as a video: {_reason(error)}") from None
    if last is None or number < total * _ENOUGH:
        found = f"{number} of {total} frames can be decoded"
        raise DataError(f"{video}: {found}; remove the file to leave its items out")
    # A few frames at the end may be hidden by an edit list: the last one stands for them.
    return frames + [last.to_ndarray(format="rgb24")] * (len(wanted) - len(frames))


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """All frames that can be decoded; a damaged frame is skipped, as in any player."""
    for packet in container.demux(stream):
        with suppress(_library().error.InvalidDataError):
            yield from packet.decode()


@contextmanager
def _opened(video: Video) -> Generator[tuple[Any, Any]]:
    source: Any = str(video.path) if video.member is None else _extracted(video)
    with _library().open(source, container_options=_CONTAINERS) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        yield container, container.streams.video[0]


def _extracted(video: Video) -> io.BytesIO:
    with zipfile.ZipFile(video.path) as archive:
        info = archive.getinfo(video.member or "")
        if info.file_size > MAX_BYTES:
            raise ValueError(f"it has {info.file_size:,} bytes; at most {MAX_BYTES:,} are allowed")
        with archive.open(info) as file:
            return io.BytesIO(file.read(MAX_BYTES))


def _errors() -> tuple[type[Exception], ...]:
    return (_library().FFmpegError, OSError, ValueError, EOFError, zipfile.BadZipFile)


def _library() -> Any:
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtra(
            "reading videos needs av; install the extra: pip install 'transferscope[video]'"
        ) from None
    return av


def _reason(error: Exception) -> str:
    """An error's text on one line, without the path, which the message names already."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0]
