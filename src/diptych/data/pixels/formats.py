"""Readable image formats, by file extension, and advice for the others."""

from functools import cache

from PIL import features

from diptych.data.pixels import heic

# Pillow's names of the formats that are always read, and how their files end.
ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    heic.FORMAT: (".heic", ".heif", ".hif"),
}
CONVERT = "convert them to JPEG or PNG"
FRAMES = "save the frames that show something as JPEG or PNG"
# What else holds pictures, by the endings of files: what to do about it.
OTHERS = {
    (".heic", ".heif", ".hif"): "convert them to JPEG, or pip install pillow-heif",
    (".avif",): "convert them to JPEG, or install a Pillow that reads AVIF",
    (".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"): CONVERT,
    (".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".tga", ".ico", ".icns", ".cur", ".sgi", ".ras", ".xbm", ".xpm", ".qoi"): CONVERT,
    (".exr", ".hdr", ".pfm", ".fits", ".fit"): "convert them to PNG or TIFF with 8 or 16 bits",
    (".psd", ".psb", ".xcf", ".kra", ".ai", ".eps", ".ps", ".svg", ".pdf", ".djvu", ".emf", ".wmf"): "export them as JPEG or PNG",
    (".dcm", ".dicom", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"): "export their slices as PNG or TIFF with 16 bits",
    (".svs", ".ndpi", ".mrxs", ".scn", ".czi", ".lif", ".nd2", ".oib", ".oif", ".lsm", ".vsi"): "export fields as PNG or TIFF",
    (
        ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw",
        ".3fr", ".iiq",
    ): "develop these camera raws to JPEG or TIFF",
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"): FRAMES,
    (".npy", ".npz", ".mat", ".h5", ".hdf5"): "save the pictures in them as PNG or TIFF",
}  # fmt: skip
ADVICE = {suffix: advice for suffixes, advice in OTHERS.items() for suffix in suffixes}


@cache
def readable_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read here: AVIF where Pillow has it, HEIF where pillow-heif is installed."""
    lacking = {form for form, there in (("AVIF", features.check("avif")), (heic.FORMAT, heic.is_installed())) if not there}
    return tuple(form for form in ENDINGS if form not in lacking)


@cache
def readable_suffixes() -> tuple[str, ...]:
    """Return how the files that are read as images end, in lower case, with the dot."""
    return tuple(suffix for form in readable_formats() for suffix in ENDINGS[form])


def advice(suffix: str) -> str:
    """Describe what to do about files that hold images and are not read.

    Args:
        suffix: how they end, with the dot, in upper or lower case; ".nii.gz" is one ending.

    Returns:
        A few words that follow "24 files are not read: 24 .heic;"; "" for what is read, or is not known to hold images.
    """
    suffix = suffix.lower()
    return "" if suffix in readable_suffixes() else ADVICE.get(suffix, "")
