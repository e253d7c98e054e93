from ecglib import fingerprint
from ecglib.models import registry

SOURCE = '''
"""A module."""

X = 1
"""What X is."""


def f(x):
    """Double it."""
    return 2 * x  # why
'''


def test_comments_docstrings_and_layout_change_nothing_and_a_number_does() -> None:
    other = SOURCE.replace("# why", "").replace("Double it.", "Twice.").replace('"""What X is."""', "")
    assert fingerprint.dump(other.replace("\n\n\n", "\n")) == fingerprint.dump(SOURCE)
    assert fingerprint.dump(SOURCE.replace("2 * x", "3 * x")) != fingerprint.dump(SOURCE)


def test_order_of_mapping_keys_does_not_matter() -> None:
    assert fingerprint.of_values({"a": 1, "b": 2}) == fingerprint.of_values({"b": 2, "a": 1})
    assert fingerprint.of_values([1, 2]) != fingerprint.of_values([2, 1])


def test_a_model_stands_for_its_layers_and_for_what_is_no_network_s_own() -> None:
    shared = {"models/layers.py", "models/recurrent.py"}
    files = registry.files(registry.build("bilstm", 1, 187, 5))
    assert shared | {"models/bilstm.py"} <= set(files)
    assert not {"models/cnet.py", "models/bigru.py", "models/registry.py"} & set(files)
