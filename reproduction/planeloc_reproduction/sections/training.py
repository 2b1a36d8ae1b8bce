"""Learning curves of the networks, and the study of what the paper's text leaves open in the architecture."""

from __future__ import annotations

from planeloc_reproduction import published
from planeloc_reproduction.figures.training import draw_architectures, draw_learning_curves
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import Training, Variant
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, condition, difference, label, number, percent

_STUDY = "The text gives no kernel sizes and no channels. Errors are within 4 voxels of the truth"


def learning_curves(context: Context) -> Section:
    """Learning curves, and what was presented against the paper's 90,000 × 30 images."""
    title, training = "Training", {n: t for n, t in context.results.training.items() if t.images}
    if not training:
        return Section("training", title, missing="No training record is among the results (training/*.json).")
    path = context.figures / "training.png"
    draw_learning_curves(path, training, context.mark(training))
    picture = Picture(
        path,
        "Loss, lateral and axial error in validation against the number of training images",
        "Learning curves on validation images of three molecules; errors are those of the most probable voxel within 4 "
        "voxels of a true one, so they have a ceiling that Table 3's have not. Dashed line: the images that the paper "
        "presented.",
    )
    rows = []
    for name, record in training.items():
        paper = published.TRAINING_IMAGES.value
        rows.append((f"{label(name)}: images", number(paper), number(record.images), difference(record.images, paper)))
        for what, key, value in (("batch", "batch", published.BATCH), ("learning rate", "learning_rate", None)):
            if isinstance(record.settings.get(key), int | float):
                told = (value or published.LEARNING_RATE).value
                ours = record.settings[key]
                rows.append((f"{label(name)}: {what}", condition(told), condition(ours), difference(ours, told)))
        last = {key: float(values[-1]) for key, values in record.history.items()}
        rows.append((f"{label(name)}: last validation loss", NOTHING, number(last["validation_loss"]), NOTHING))
        for key, what in (("lateral_nm", "lateral"), ("axial_nm", "axial")):
            what = f"{label(name)}: last {what} voxel error within 4 voxels, nm"
            rows.append((what, NOTHING, number(last[key]), NOTHING))
    table = Table("Training", ("", "Paper", "Ours", "Difference"), rows, context.mark(training))
    return Section("training", title, _why(training), [picture], [table])


def _last_loss(record: Training) -> float:
    """The loss in validation at the end."""
    return float(record.history["validation_loss"][-1])


def _why(training: dict[str, Training]) -> str:
    texts = []
    for name, record in training.items():
        half = record.history["validation_loss"][len(record.history["validation_loss"]) // 2]
        course = f"its loss in validation went from {number(half)} half-way to {number(_last_loss(record))}"
        texts.append(f"the {label(name)} has seen {percent(record.fraction)} of the paper's images, and {course}")
    text = "; ".join(texts)
    # The rate anneals, so the end of a curve is flat however much more another, longer training would reach.
    return (
        f"{text[0].upper()}{text[1:]}, with a learning rate that falls to 0, so its end does not show what more images "
        "would bring."
    )


def architectures(context: Context) -> Section | None:
    """The study of kernels, channels and depth, which the text does not give; None where none was made."""
    variants = context.results.architecture
    if not variants:
        return None
    robust = context.results.training.get("robust")
    used = next((v.name for v in variants if robust and dict(v.architecture) == dict(robust.architecture)), None)
    images = sorted({variant.training_images for variant in variants})
    seen = " to ".join(f"{count:,}" for count in sorted({images[0], images[-1]}))
    paper = published.TRAINING_IMAGES.value
    mark = f"Each trained on {seen} images, {percent(images[-1] / paper)} of the paper's {paper:,}"
    path = context.figures / "architecture.png"
    draw_architectures(path, variants, used, mark)
    picture = Picture(
        path,
        "Loss, errors and training time of every architecture of the study",
        f"Every variant after {seen} training images, by loss"
        + (f"; blue: {used}, as the networks of this report." if used else "."),
    )
    header = ("Variant", "Parameters", "Training images", "ms per image", "Loss", "Lateral, nm", "Axial, nm")
    rows = [
        (
            f"{v.name} (used)" if v.name == used else v.name,
            f"{v.parameters:,}",
            f"{v.training_images:,}",
            *(number(n) for n in (v.milliseconds_per_image, v.validation_loss, v.lateral_nm, v.axial_nm)),
        )
        for v in sorted(variants, key=lambda variant: variant.validation_loss)
    ]
    table = Table(
        "Architectures",
        header,
        rows,
        f"{mark}, one seed each. {_STUDY}",
    )
    return Section(
        "architecture",
        "What the text leaves open: the architecture",
        _choice(variants, used, robust is not None),
        [picture],
        [table],
    )


def _choice(variants: tuple[Variant, ...], used: str | None, recorded: bool) -> str:
    best = min(variants, key=lambda variant: variant.validation_loss)
    fastest = min(variants, key=lambda variant: variant.milliseconds_per_image)
    cost = best.milliseconds_per_image / fastest.milliseconds_per_image
    text = f"The smallest loss has “{best.name}”"
    if best is not fastest:
        text += f", at {number(cost)} times the training time of the fastest (“{fastest.name}”)"
    if used == best.name:
        return text + "; it is the one that the networks of this report have."
    chosen = next((variant for variant in variants if variant.name == used), None)
    if chosen is None:
        known = "has an architecture that is not in the study" if recorded else "left no record of its architecture"
        return f"{text}; the robust network of this report {known}."
    loss = chosen.validation_loss / best.validation_loss - 1
    time = chosen.milliseconds_per_image / best.milliseconds_per_image
    amount = f"{percent(loss)} more loss at {number(time)} times its time"
    return f"{text}; the networks of this report have “{used}”, {amount}."
