"""The table of views: one row for each, from which everything that is known of views by name follows.

The functions themselves are in `blurjax.views`; this module needs no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from blurjax.config.registry import Registry


@dataclass(frozen=True)
class ViewSpec:
    """A view: a pure function of images that classifiers are trained or tested on.

    Attributes:
      name: in settings, files and figures.
      function: (ViewParameters, images f32[B,H,W,C] in [0,1], indices i32[B]) -> images of the same shape, multiples of
        1/255; or its place, such as "package.module:function".
      explanation: one sentence for someone who has never heard of the view.
      needs_code: whether it depends on the size of the code, and so on the point of a sweep.
      needs_autoencoder: whether it depends on the autoencoder trained on the whole train split.
      needs_folds: whether it depends on the fold autoencoders.
      testable: whether classifiers can be tested on it.
      tested_on: the view that stands in where classifiers trained on it are tested on their own view; None: itself.
      measured: whether its image quality is measured; not where it shows nothing but images of other views.
      compared: whether it is a simpler way to lose detail, whose accuracy is compared with the reconstruction's.
      check: whether it checks the experiment itself: a classifier of original images that should find no difference.
      network: what its classifiers are: `classifier.model`, or the autoencoder's encoder with a small head on the code.
        Where the view needs the autoencoder, they begin with the weights of its encoder; "frozen encoder" keeps these.
      by_default: whether classifiers are trained (and, where testable, tested) on it unless settings say otherwise.
      control: whether `views.controls` adds it.
      main: whether tables and figures show it first.
      colour: in figures, as matplotlib takes it; None: the next free one.
      line: in figures, as matplotlib takes it.
    """

    name: str
    function: str | Callable[..., Any]
    explanation: str
    needs_code: bool = False
    needs_autoencoder: bool = False
    needs_folds: bool = False
    testable: bool = True
    tested_on: str | None = None
    measured: bool = True
    compared: bool = False
    check: bool = False
    network: Literal["model", "encoder", "frozen encoder"] = "model"
    by_default: bool = False
    control: bool = False
    main: bool = False
    colour: str | None = None
    line: str = "-"

    def __post_init__(self) -> None:
        """Refuses an encoder for which the bottleneck is not known."""
        if self.network != "model" and not self.needs_code:
            raise ValueError(
                f"the view {self.name} has network {self.network!r}; set needs_code=True, too."
            )

    @property
    def starts_warm(self) -> bool:
        """Whether its classifiers begin with the weights of the trained encoder."""
        return self.network != "model" and self.needs_autoencoder

    @property
    def own_test_view(self) -> str:
        """The view on which its classifiers are tested when one test view is to be named."""
        return self.tested_on or self.name


VIEWS: Registry[ViewSpec] = Registry("view")
"""All views; the order is that of figures and tables."""

# Okabe and Ito's palette, which all common forms of colour vision can tell apart.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#7F7F7F"


def register_view(spec: ViewSpec) -> ViewSpec:
    """Adds a view to the table; settings can name it from then on.

    Raises:
      ValueError: another view has the name.
    """
    return VIEWS.register(spec.name, spec)


_FUNCTIONS = "blurjax.views.functions"
_encoder = partial(
    ViewSpec,
    function=f"{_FUNCTIONS}:original",
    needs_code=True,
    testable=False,
    tested_on="original",
    measured=False,
)

for _spec in (
    ViewSpec(
        "original",
        f"{_FUNCTIONS}:original",
        "The image as it is.",
        by_default=True,
        main=True,
        colour=BLUE,
    ),
    ViewSpec(
        "reconstruction",
        f"{_FUNCTIONS}:reconstruction",
        "The image as the autoencoder trained on the whole train split reconstructs it.",
        needs_code=True,
        needs_autoencoder=True,
        by_default=True,
        main=True,
        colour=VERMILLION,
    ),
    ViewSpec(
        "crossfit",
        f"{_FUNCTIONS}:reconstruction",
        "The image as an autoencoder reconstructs it that was not trained on it (nor on the other images of its fold).",
        needs_code=True,
        needs_folds=True,
        by_default=True,
        main=True,
        colour=GREEN,
        line="--",
    ),
    ViewSpec(
        "infold",
        f"{_FUNCTIONS}:reconstruction",
        "The image as an autoencoder reconstructs it that was trained on it, and on as many images as for crossfit.",
        needs_code=True,
        needs_folds=True,
        testable=False,
        tested_on="crossfit",
        by_default=True,
        colour=PURPLE,
    ),
    ViewSpec(
        "mixed",
        f"{_FUNCTIONS}:reconstruction",
        "For half of the images the reconstruction, for the other half the original.",
        needs_code=True,
        needs_autoencoder=True,
        testable=False,
        tested_on="reconstruction",
        measured=False,
        by_default=True,
        main=True,
        colour=ORANGE,
    ),
    ViewSpec(
        "blur",
        f"{_FUNCTIONS}:blur",
        "The image under a Gaussian blur that distorts as much as the autoencoder does.",
        needs_code=True,
        needs_autoencoder=True,
        compared=True,
        by_default=True,
        colour=SKY,
    ),
    ViewSpec(
        "pca",
        f"{_FUNCTIONS}:pca",
        "The image's projection on as many principal components of the train split as the code has floats.",
        needs_code=True,
        compared=True,
        by_default=True,
        colour=BLACK,
        line="-.",
    ),
    ViewSpec(
        "downsample",
        f"{_FUNCTIONS}:downsample",
        "The image averaged to as many pixel values as the code has floats, and enlarged again.",
        needs_code=True,
        compared=True,
        by_default=True,
        colour=GREY,
    ),
    ViewSpec(
        "spectrum",
        f"{_FUNCTIONS}:spectrum",
        "The image filtered so that its power spectrum falls as the reconstructions' does.",
        needs_code=True,
        needs_autoencoder=True,
        compared=True,
        control=True,
        colour=PURPLE,
        line=":",
    ),
    ViewSpec(
        "identity",
        f"{_FUNCTIONS}:identity",
        "The original after the rounding that every view ends with: results must equal the original's bit by bit.",
        testable=False,
        tested_on="original",
        measured=False,
        check=True,
        control=True,
        colour=BLUE,
        line=":",
    ),
    ViewSpec(
        "reseeded",
        f"{_FUNCTIONS}:original",
        "The original, for classifiers with another seed: results should differ by chance alone.",
        testable=False,
        tested_on="original",
        measured=False,
        check=True,
        control=True,
        colour=BLUE,
        line="--",
    ),
    ViewSpec(
        "shuffled",
        f"{_FUNCTIONS}:original",
        "The original with permuted labels: nothing can be learned, and accuracy should be chance.",
        testable=False,
        tested_on="original",
        measured=False,
        check=True,
        control=True,
        colour=GREY,
        line=":",
    ),
    # New rows come last: the code of views before them is then the same as before (experiment/fingerprints.py).
    ViewSpec(
        "quantised",
        f"{_FUNCTIONS}:quantised",
        "The image as the autoencoder reconstructs it from a code rounded to 8 bits per float.",
        needs_code=True,
        needs_autoencoder=True,
        colour=VERMILLION,
        line="--",
    ),
    ViewSpec(
        "jpeg",
        f"{_FUNCTIONS}:compressed",
        "The image compressed as JPEG, at the quality that distorts as much as the autoencoder does.",
        needs_code=True,
        needs_autoencoder=True,
        compared=True,
        colour=BLACK,
        line="--",
    ),
    ViewSpec(
        "webp",
        f"{_FUNCTIONS}:compressed",
        "The image compressed as WebP, at the quality that distorts as much as the autoencoder does.",
        needs_code=True,
        needs_autoencoder=True,
        compared=True,
        colour=GREY,
        line="--",
    ),
    _encoder(
        name="encoder",
        explanation="The original, for classifiers that begin as the autoencoder's trained encoder, with a small head "
        "on the code.",
        needs_autoencoder=True,
        network="encoder",
    ),
    _encoder(
        name="encoder_frozen",
        explanation="The same as encoder, but only the head is trained: the encoder stays as the autoencoder's "
        "training left it.",
        needs_autoencoder=True,
        network="frozen encoder",
    ),
    _encoder(
        name="encoder_scratch",
        explanation="The same network as for encoder, begun with random weights: what the autoencoder's weights are "
        "compared with.",
        network="encoder",
    ),
):
    register_view(_spec)

CODECS = ("jpeg", "webp")
"""Views that show what an image codec leaves."""


def named(**flags: bool) -> tuple[str, ...]:
    """Returns the names of the views whose attributes have these values, in the table's order."""
    return tuple(
        spec.name
        for spec in VIEWS.values()
        if all(getattr(spec, flag) == value for flag, value in flags.items())
    )


def in_order(views: Iterable[str]) -> list[str]:
    """Sorts view names as the table lists them."""
    return sorted(views, key=list(VIEWS).index)
