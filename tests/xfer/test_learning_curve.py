"""A share of the training part: by patient and class, and nested."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xfer.learning_curve import share_of

PARTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=80
)  # class, patient


def of(images: list[tuple[int, int]], share: float) -> np.ndarray:
    labels = np.array([label for label, _ in images], dtype=np.int64)
    patients = [str(patient) for _, patient in images]
    return share_of(np.arange(len(images)), labels, patients, share)


@given(PARTS)
def test_the_whole_part_is_a_share_of_one(images: list[tuple[int, int]]) -> None:
    assert of(images, 1.0).tolist() == list(range(len(images)))


@given(PARTS, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_smaller_share_is_part_of_a_larger_one(
    images: list[tuple[int, int]], one: float, other: float
) -> None:
    small, large = (set(of(images, share).tolist()) for share in sorted((one, other)))
    assert small <= large


@given(PARTS, st.floats(0.01, 1.0))
def test_no_patient_is_cut_in_two(images: list[tuple[int, int]], share: float) -> None:
    taken = set(of(images, share).tolist())
    inside = {images[i][1] for i in taken}
    outside = {images[i][1] for i in range(len(images)) if i not in taken}
    assert inside.isdisjoint(outside)


@given(st.integers(1, 4), st.integers(3, 60), st.floats(0.05, 1.0))
def test_each_class_keeps_its_share(each: int, patients: int, share: float) -> None:
    images = [
        (label, label * 1000 + patient)
        for label in range(2)
        for patient in range(patients)
        for _ in range(each)
    ]
    taken = of(images, share)
    for label in range(2):
        count = sum(images[i][0] == label for i in taken)
        assert count >= each
        assert abs(count - share * patients * each) <= each
