"""The `model` field is found wherever it stands in a form, however the form is split."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.multipart import ModelFinder, boundary_of


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for disposition, content in parts:
        body += b"--XX\r\ncontent-disposition: form-data; %b\r\n\r\n%b\r\n" % (disposition.encode(), content)
    return body + b"--XX--\r\n"


FILE = ('name="file"; filename="model.wav"', b'RIFF name="model" \r\n--X not a boundary\r\n')


def find(body: bytes, size: int = 10_000) -> tuple[str | None, ModelFinder]:
    finder = ModelFinder(b"XX")
    for start in range(0, len(body), size):
        if finder.feed(body[start : start + size]):
            break
    return (finder.found.value if finder.found else None), finder


@given(st.integers(1, 60), st.booleans())
def test_any_split_finds_the_same(size: int, file_first: bool) -> None:
    parts = [FILE, ('name="model"', b"whisper-1"), ('name="language"', b"en")]
    body = form(*(parts if file_first else parts[1:] + parts[:1]))
    value, finder = find(body, size)
    assert value == "whisper-1"
    assert finder.found is not None
    assert body[finder.found.start : finder.found.end] == b"whisper-1"


def test_a_file_named_model_is_not_the_field() -> None:
    value, finder = find(form(FILE))
    assert value is None
    assert finder.done


def test_unquoted_names_and_odd_case_are_read() -> None:
    body = b"--XX\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--XX--\r\n"
    assert find(body)[0] == "m"


def test_an_endless_part_head_ends_the_search() -> None:
    finder = ModelFinder(b"XX")
    assert finder.feed(b"--XX\r\n" + b"a" * 20_000)
    assert finder.found is None


def test_a_large_file_is_looked_at_once() -> None:
    finder = ModelFinder(b"XX")
    finder.feed(b'--XX\r\ncontent-disposition: form-data; name="file"\r\n\r\n')
    for _ in range(200):
        finder.feed(b"\0" * 4096)
    assert finder._scanned > 800_000
    finder.feed(b'\r\n--XX\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--XX--')
    assert finder.found is not None


def test_boundaries() -> None:
    assert boundary_of(b"multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of(b'multipart/form-data; charset=utf-8; boundary="a b"') == b"a b"
    assert boundary_of(b"application/json") is None
