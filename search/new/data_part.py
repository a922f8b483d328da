"""Which lines say where the images are and how they are looked at? `DATA`, with its reasons."""

from __future__ import annotations

from collections.abc import Iterator

from search.new.choices import STEP, Choices
from search.new.lines import comment, literal, pattern, shown
from search.new.seen import Seen
from xfer.recipe import Table, is_local

_INDENT = 4


def data_lines(seen: Seen, choices: Choices) -> Iterator[str]:
    """`DATA = Images(...)`."""
    place = seen.place.file if isinstance(seen.place, Table) else seen.place
    if is_local(place) and not place.startswith(("/", "~")):
        yield from comment(
            "The images. Their place is as seen from the folder in which the commands are typed;"
            " --data PATH takes others for once."
        )
    else:
        yield "# The images; --data PATH takes others for once."
    yield "DATA = Images("
    yield from _place(seen.place)
    yield from _positive(seen)
    yield from _size(seen, choices)
    yield from _colour(seen, choices)
    if not seen.sizes.square:
        yield from _said(
            'Images that are not square are squeezed into one; fit="pad" adds black borders'
            ' instead, fit="crop" cuts the longer side.'
        )
        yield '    fit="squash",'
    yield from _patients(seen)
    yield ")"


def _said(text: str) -> Iterator[str]:
    yield from comment(text, indent=_INDENT)


def _place(place: str | Table) -> Iterator[str]:
    if isinstance(place, str):
        yield f"    {literal(place)},"
        return
    yield "    Table("
    yield f"        {literal(place.file)},"
    for name in ("path", "label", "patient", "split", "root"):
        value = getattr(place, name)
        if value is not None:
            yield f"        {name}={literal(value)},"
    yield "    ),"


def _positive(seen: Seen) -> Iterator[str]:
    positive, classes = seen.positive, seen.source.classes
    if positive is None:
        yield from _said(
            "Every class counts alike, so none is named here. If one of them must not be missed,"
            " have another space written, with --positive and its name: OBJECTIVE will be another,"
            " too."
        )
        return
    if seen.guess is not None:
        other = next(name for name in classes if name != positive)
        yield from _said(
            f"The class that must not be missed. This is a GUESS, {shown(seen.guess.why)}. If it is"
            f" wrong, write {literal(other)} here."
        )
    else:
        rest = "all others together are" if len(classes) > 2 else "the other one is"
        yield from _said(f"The class that must not be missed; {rest} what it is told apart from.")
    yield f"    positive={literal(positive)},"


def _size(seen: Seen, choices: Choices) -> Iterator[str]:
    shorter = seen.sizes.shorter
    if choices.size > shorter:
        why = f"The images are smaller ({shorter}) and are enlarged: backbones need that much."
    elif choices.size > shorter - STEP:
        why = f"Half of the images have a shorter side of {shorter} or less."
    else:
        why = (
            f"The images would allow more (half have a shorter side of {shorter} or more), and"
            " show finer things then; twice the side takes about four times as long."
        )
    yield from _said(f"Side of the square that a network sees, in pixels. {why}")
    yield f"    size={choices.size},"


def _colour(seen: Seen, choices: Choices) -> Iterator[str]:
    gray, looked = seen.sizes.gray, seen.sizes.looked
    if choices.channels == 1:
        yield from _said(
            f"All {looked} images that were looked at are gray: a third of the memory. Backbones"
            " see the gray three times."
        )
        yield "    channels=1,"
    elif gray:
        yield from _said(
            f"{gray} of the {looked} images that were looked at are gray, the others in colour. If"
            " colour says nothing about the class, take channels=1, which makes all of them gray."
        )
        yield "    channels=3,"


def _patients(seen: Seen) -> Iterator[str]:
    found, place = seen.patients, seen.place
    if found is not None:
        name, patient = found.example
        number = f"{found.patients:,}"
        rest = found.names - found.matched
        alone = f"; the other {rest:,} stand alone" if rest else ""
        yield from _said(
            f"Who is on an image, by its file's name: of {shown(name)} it is {shown(patient)}."
            f" Found in {found.matched:,} of {found.names:,} names, {number} different ones{alone}."
            " Images of one stay together: none is trained on while another is tested on."
        )
        yield f"    patient={pattern(found.pattern)},"
    elif isinstance(place, Table) and place.patient is not None:
        yield from _said(
            f"Images of one patient, by column {shown(place.patient)}, stay together: none is"
            " trained on while another is tested on."
        )
    elif seen.told:
        yield from _said("Patients are known by the images themselves, and stay together.")
    elif seen.example is not None:
        column = ", or patient= in Table(...) the column," if isinstance(place, Table) else ""
        yield from _said(
            f"Who is on an image could not be told from names such as {shown(seen.example)}, so"
            " each counts as a patient of its own. If several show one patient (or plant, or"
            f" part), a regular expression{column} says who: without its first # the next line"
            " would find p017 in p017_left.jpg."
        )
        yield r'    # patient=r"(p\d+)_",'
    else:
        yield from _said("There are no file names that could tell whose the images are.")
