"Picture files in and out: what is broken, animated or too large is refused with a reason."

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from genre_nbs.io.files import FileProblem, atomic_path


class PictureError(FileProblem):
    "A picture that cannot be used: `path` says which, `reason` why."


PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg') # what a folder of pictures is searched for
MAX_PIXELS = 16_000_000 # a larger picture is refused before it is unpacked
MAX_FILL = 1 << 19 # pairs of fill bytes in a JPEG, which may stand before each of its parts; none are needed, and they are read one by one
MAX_SCANS = 64 # a JPEG picture is drawn over and over again; cameras and programs need at most a dozen passes


def jpeg_fault(
    path, # a file
) -> str: # the reason, '' when there is none, or it is no JPEG
    """Why a JPEG would take long to read: it makes its reader draw the whole picture again and again, a few bytes for each pass, as
    costly as the picture is large; or it consists of fill bytes (ITU T.81, B.1.1.2 and B.2)."""
    scans, fill, kept = 0, 0, b''
    with open(path, 'rb') as file:
        if file.read(2) != b'\xff\xd8': return ''
        while data := file.read(1 << 20):
            scans += (kept + data).count(b'\xff\xda') # start of scan; among the coded data no 0xff stands before it
            fill += data.count(b'\xff\xff')
            kept = data[-1:]
            if scans > MAX_SCANS: return f'is drawn in more than {MAX_SCANS} passes, too costly to be read'
            if fill > MAX_FILL: return f'holds more than {2 * MAX_FILL} fill bytes, too costly to be read'
    return ''


def pixels_of(
    image: Image.Image, # an open picture of any mode
) -> np.ndarray: # (h, w) grey or (h, w, 3) colour, uint8
    "Pixels in 8 bits: 16-bit grey is scaled, see-through parts lie on white, palettes and other colour spaces become RGB."
    if image.mode.startswith('I'): return np.rint(np.asarray(image, dtype=np.float64) / 257).astype(np.uint8)
    kind = 'L' if image.mode in ('1', 'L', 'LA', 'La') else 'RGB'
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image.convert('RGBA'))
    return np.asarray(image.convert(kind))


def read_picture(
    path, # a PNG or JPEG file
) -> np.ndarray: # (h, w) grey or (h, w, 3) colour, uint8
    "Read a picture. Raises `PictureError` when it is missing, broken, cut off, animated, too large or no picture."
    path = Path(path)
    if not path.is_file(): raise PictureError(path, 'no such file')
    try:
        if fault := jpeg_fault(path): raise PictureError(path, fault)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore') # our own limit of size is stricter, and what is wrong with a camera's notes is of no interest
            with Image.open(path, formats=('PNG', 'JPEG')) as image:
                if image.width * image.height > MAX_PIXELS: raise PictureError(path, f'{image.width} x {image.height} pixels are too many')
                if getattr(image, 'n_frames', 1) > 1: raise PictureError(path, 'is animated, and a spectrogram is a single picture')
                return pixels_of(image)
    except PictureError: raise
    except Image.DecompressionBombError: raise PictureError(path, 'has too many pixels') from None
    except Image.UnidentifiedImageError: raise PictureError(path, 'is neither a PNG nor a JPEG picture') from None
    except OSError as error:
        why = f'cannot be read ({os.strerror(error.errno)})' if error.errno else f'is broken or cut off ({error})'
        raise PictureError(path, why) from error
    except Exception as error: raise PictureError(path, f'is broken or cut off ({str(error) or type(error).__name__})') from error


def save_picture(
    path, # where to, ending in .png
    pixels: np.ndarray, # (h, w) grey or (h, w, 3) colour, uint8
) -> Path: # the path written
    "Write a PNG, whole or not at all; the same pixels give the same bytes. Raises `ValueError` for another ending or kind of array."
    path, pixels = Path(path), np.asarray(pixels)
    if path.suffix.lower() != '.png': raise ValueError(f'{path.name}: pictures are written as .png')
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(f'expected (h, w) or (h, w, 3) uint8, got {pixels.shape} {pixels.dtype}')
    with atomic_path(path) as part: Image.fromarray(np.ascontiguousarray(pixels)).save(part)
    return path


def save_figure(
    figure, # of Matplotlib
    path, # where to; the ending says the format, such as .png or .svg
    dpi: int = 150, # pixels to the inch
) -> Path: # the path written
    "Write a figure, whole or not at all, and close it. Raises `ValueError` for a format that Matplotlib does not know."
    import matplotlib.pyplot as plt # here, not above: whoever reads pictures draws none
    path = Path(path)
    try:
        with atomic_path(path) as part: figure.savefig(part, dpi=dpi, format=path.suffix[1:].lower())
    finally: plt.close(figure)
    return path
