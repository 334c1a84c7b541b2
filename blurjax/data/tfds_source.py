"""TFDS data sets that are prepared on disk; the network is never touched, and TensorFlow decodes nothing.

Prepared data sets are found by their directories: TFDS's own look-up would need TFDS, half a second to
import, where only names are listed, and goes to the network for names that it does not know.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data.decoding import SAMPLE, EncodedImage, EncodedImages, load_decoded
from blurjax.data.examples import Examples, without_unused_classes
from blurjax.data.messages import explain_read_errors, join_names, printable
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path

_BATCH = 128
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def import_tensorflow(name: str = "tensorflow") -> Any:
    """Imports tensorflow or tensorflow_datasets and hides every accelerator from it.

    Raises:
      UserError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Without it, the import prints a notice; no image meets oneDNN.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        tensorflow = importlib.import_module("tensorflow")
        module = importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"This needs TensorFlow, which cannot be imported ({error}); install tensorflow-cpu "
            "and tensorflow-datasets, or save the images as arrays: npz:FILE works without them."
        ) from None
    tensorflow.get_logger().setLevel("ERROR")  # it warns of what its own libraries call
    for accelerator in ("GPU", "TPU"):
        # RuntimeError: the program that we are part of has already used them.
        with contextlib.suppress(RuntimeError, ValueError):
            tensorflow.config.set_visible_devices([], accelerator)
    return module


def load_tfds(name: str, config: DataConfig) -> Examples:
    """Loads `tfds:NAME[/CONFIG]`, from the cache where its files are as they were.

    Raises:
      UserError: it is not prepared on this machine, or damaged, or has no such split or no labelled
        images; see also `load_decoded`.
    """
    data_dir = data_directory(config.data_dir)
    with explain_read_errors(data_dir):
        version = find_prepared(name, data_dir)
        statuses = [(path.name, path.stat()) for path in sorted(version.iterdir())]
    settings = {split: getattr(config, f"{split}_split") for split in SPLITS}
    splits = {split: tfds_name for split, tfds_name in settings.items() if tfds_name is not None}
    key = {f"{split}_split": tfds_name for split, tfds_name in settings.items()}
    key["files"] = [(file, status.st_size, status.st_mtime_ns) for file, status in statuses]
    key["tfds"] = str(version.resolve())
    examples = load_decoded(
        name, lambda: open_prepared(name, version, splits), list(splits), config, key
    )
    return without_unused_classes(examples)


def open_prepared(name: str, directory: Path, splits: Mapping[str, str]) -> EncodedImages:
    """Opens a prepared data set.

    Args:
      name: for error messages.
      directory: of one version.
      splits: split -> its name in TFDS.

    Raises:
      UserError: it cannot be read, or is not of labelled images, or has no such split. Damaged
        records show only while the splits are read.
    """
    tfds = import_tensorflow("tensorflow_datasets")
    with _explain_damage(name, directory, Exception):  # damaged files show as errors of every kind
        builder = tfds.builder_from_directory(directory)
    image, label = _feature_names(name, builder.info, tfds.features)
    count = 0
    for split, tfds_name in splits.items():
        try:
            images = builder.info.splits[tfds_name].num_examples
        except Exception:  # TFDS raises several kinds for names and slices that it does not know
            images = 0
        if not images:
            or_none = "" if split == "train" else ", or to none to take a part of train"
            raise UserError(
                f"{name} has no images in a split {printable(tfds_name)}; set data.{split}_split to "
                f"one of its splits ({', '.join(sorted(builder.info.splits))}){or_none}."
            )
        count += images

    def read(split: str) -> Iterator[EncodedImage]:
        """Yields the images of a split in the order in which they lie on disk."""
        examples = builder.as_dataset(
            split=splits[split],
            shuffle_files=False,
            # Undecoded, so that Pillow decodes every image of every source.
            decoders=tfds.decode.PartialDecoding(
                {image: True, label: True}, decoders={image: tfds.decode.SkipDecoding()}
            ),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=True),
        )
        with _explain_damage(name, directory, import_tensorflow().errors.OpError):
            # Many at a time: TensorFlow takes a while over each handing over.
            for batch in examples.batch(_BATCH).prefetch(2).as_numpy_iterator():
                ids = map(bytes.decode, batch["tfds_id"])
                yield from map(EncodedImage, batch[image], batch[label].tolist(), ids)

    return EncodedImages(
        place=Path(name),
        class_names=tuple(builder.info.features[label].names),
        count=count,
        splits={split: read(split) for split in splits},
        sample=(example.content for example in itertools.islice(read("train"), SAMPLE)),
    )


@contextlib.contextmanager
def _explain_damage(name: str, directory: Path, damage: type[Exception]) -> Iterator[None]:
    try:
        yield
    except damage as error:
        reason = " ".join(str(error).split()).rpartition("}} ")[2].partition(" [Op:")[0]
        raise UserError(
            f"{name} in {printable(directory)} cannot be read ({reason}); prepare it again."
        ) from None


def _feature_names(name: str, info: Any, feature: Any) -> tuple[str, str]:
    """Returns the names of the image and the label feature."""
    image, label, *_ = info.supervised_keys or ("image", "label")  # perhaps a weight, too
    known = dict(info.features.items()) if hasattr(info.features, "items") else {}
    is_image = isinstance(known.get(image), feature.Image)
    if not is_image or known[image].np_dtype not in (np.uint8, np.uint16):
        wanted = "an 8-bit or 16-bit image"
    elif not isinstance(known.get(label), feature.ClassLabel):
        wanted = "a class label"
    else:
        return image, label
    raise UserError(
        f"{name} does not offer {wanted} for each example (its features are "
        f"{join_names(list(known))}); choose one for image classification."
    )


def data_directory(configured: Path | None) -> Path:
    """Returns the directory of prepared data sets: as configured, or where TFDS itself keeps them."""
    if configured:
        return expand_path(configured)
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    # Leaves ~ where there is no home, and so nothing.
    return Path(os.path.expanduser(default))  # noqa: PTH111


def find_prepared(name: str, directory: Path) -> Path:
    """Returns the directory of the newest prepared version of NAME or NAME/CONFIG.

    Raises:
      UserError: it is not prepared, or a configuration must be named.
    """
    if re.fullmatch(r"\w+(/[\w.+-]+)?", name) is None:
        raise UserError(
            f"tfds:{printable(name)} names no data set; write tfds:NAME or tfds:NAME/CONFIG."
        )
    place = directory / name
    newest = _newest_version(place)
    if newest is not None:
        return newest
    places = [] if "/" in name else _folders(place)
    configs = {path.name: version for path in places if (version := _newest_version(path))}
    if len(configs) == 1:
        return next(iter(configs.values()))
    if configs:
        raise UserError(
            f"{name} is prepared in several configurations ({join_names(list(configs))}); name "
            f"one, as in tfds:{name}/{next(iter(configs))}."
        )
    arguments = repr(name)
    if directory != data_directory(None):
        arguments += f", data_dir={str(directory)!r}"
    raise UserError(
        f"{name} is not prepared in {printable(directory)}, and preparing it needs the network; "
        'where there is one, run: python -c "import tensorflow_datasets as tfds; '
        f'tfds.builder({arguments}).download_and_prepare()"'
    )


def list_prepared(directory: Path) -> Iterator[tuple[str, str]]:
    """Yields (NAME or NAME/CONFIG, sentence) for every prepared data set of labelled images."""
    for dataset in _folders(directory):
        configs = (path for path in _folders(dataset) if not _VERSION.fullmatch(path.name))
        for place in (dataset, *configs):
            newest = _newest_version(place)
            if newest is None:
                continue
            try:
                top = _read_json(newest / "features.json")["featuresDict"]["features"].values()
                kinds = {feature["pythonClassName"].rpartition(".")[2] for feature in top}
            except (OSError, ValueError, KeyError, AttributeError):
                continue
            if not {"Image", "ClassLabel"} <= kinds:
                continue
            try:
                splits = _read_json(newest / "dataset_info.json")["splits"]
                counts = [f"{sum(map(int, s['shardLengths'])):,} {s['name']}" for s in splits]
                sentence = f"prepared: {', '.join(counts)} images."
            except (OSError, ValueError, KeyError, TypeError):
                sentence = "prepared, but its description is damaged."
            yield place.relative_to(directory).as_posix(), sentence


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _newest_version(place: Path) -> Path | None:
    versions = [
        path
        for path in _folders(place)
        if _VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return max(versions, key=lambda path: [int(n) for n in path.name.split(".")], default=None)


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []
