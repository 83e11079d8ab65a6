"""Reading the structure of a caffe.proto: messages, fields, numbers, lines."""

import dataclasses
import re
from collections.abc import Iterator

from caffe_tools.errors import ToolError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[A-Za-z_][\w.]*|\.[A-Za-z_][\w.]*)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+))
      | (?P<symbol>[{}()\[\]<>;,=:-])""",
    re.VERBOSE | re.DOTALL,
)
MAX_NUMBER = 2**29 - 1
RESERVED_BY_PROTOBUF = range(19000, 20000)


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, number, string or symbol, and its position."""

    kind: str
    text: str
    offset: int
    line: int


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message."""

    name: str
    type: str
    number: int
    line: int


@dataclasses.dataclass
class Message:
    """A message, with the number ranges that it reserves or leaves to extensions."""

    name: str
    line: int
    fields: list[Field] = dataclasses.field(default_factory=list)
    ranges: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    start: int = -1
    end: int = -1
    """Offsets of its braces."""

    def used(self, number: int) -> str | None:
        """Return who uses a number, or None."""
        for field in self.fields:
            if field.number == number:
                return f"'{field.type} {field.name}' in line {field.line}"
        for first, last, line in self.ranges:
            if first <= number <= last:
                return f"the reserved or extension range in line {line}"
        return None

    def free(self, at_least: int) -> int | None:
        """Return an unused number, at least `at_least` if possible."""
        taken = [(f.number, f.number) for f in self.fields]
        taken += [(first, last) for first, last, _ in self.ranges]
        taken.append((RESERVED_BY_PROTOBUF[0], RESERVED_BY_PROTOBUF[-1]))
        for start in (at_least, 1):
            number = start
            for first, last in sorted(taken):
                if first <= number <= last:
                    number = last + 1
            if number <= MAX_NUMBER:
                return number
        return None


@dataclasses.dataclass(frozen=True)
class File:
    """The top level of a proto file."""

    messages: dict[str, Message]
    names: dict[str, int]
    """Every message and enum at the top level, and its line."""


def parse(text: str, name: str) -> File:
    """Parse a proto2 file as far as the patch needs it.

    Raises
    ------
    ToolError
        If the text is not a complete proto file; names `name` and the line.
    """
    return _Parser(text, name).file()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.tokens = list(self._tokens(text))
        self.position = 0

    def _tokens(self, text: str) -> Iterator[Token]:
        offset, line = 0, 1
        while offset < len(text):
            match = _TOKEN.match(text, offset)
            if not match:
                self._fail(
                    line, f"cannot be parsed from {text[offset : offset + 20]!r} on"
                )
            if match.lastgroup != "space":
                yield Token(match.lastgroup, match[0], offset, line)
            line += match[0].count("\n")
            offset = match.end()

    def _fail(self, line: int, what: str) -> None:
        raise ToolError(
            f"{self.name}, line {line}: {what}. Check that the file is complete and "
            "has no unfinished merge"
        )

    def _next(self, *wanted: str) -> Token:
        if self.position == len(self.tokens):
            line = self.tokens[-1].line if self.tokens else 1
            self._fail(line, "the file ends in the middle of a definition")
        token = self.tokens[self.position]
        self.position += 1
        if wanted and token.text not in wanted and token.kind not in wanted:
            self._fail(token.line, f"'{token.text}', expected {' or '.join(wanted)}")
        return token

    def _peek(self) -> str:
        if self.position == len(self.tokens):
            return ""
        return self.tokens[self.position].text

    def _skip_statement(self) -> None:
        """Skip to the end of a statement: a semicolon or a block."""
        depth = 0
        while True:
            token = self._next()
            if token.text in "{[(":
                depth += 1
            elif token.text in "}])":
                depth -= 1
                if depth < 0:
                    self._fail(token.line, f"unexpected '{token.text}'")
                if depth == 0 and token.text == "}":
                    return
            elif token.text == ";" and depth == 0:
                return

    def file(self) -> File:
        messages: dict[str, Message] = {}
        names: dict[str, int] = {}
        while self._peek():
            token = self._next("word", ";")
            if token.text == "message":
                message = self._message()
                messages[message.name] = message
                names[message.name] = message.line
            elif token.text == "enum":
                named = self._next("word")
                names[named.text] = named.line
                self._skip_statement()
            elif token.text in (
                "syntax",
                "package",
                "import",
                "option",
                "extend",
                "service",
            ):
                self._skip_statement()
            elif token.text != ";":
                self._fail(token.line, f"'{token.text}' is not a definition")
        return File(messages, names)

    def _message(self) -> Message:
        named = self._next("word")
        message = Message(named.text, named.line)
        message.start = self._next("{").offset
        self._body(message)
        return message

    def _body(self, message: Message) -> None:
        """Read fields up to the closing brace, including those of a oneof."""
        while True:
            token = self._next("word", "}", ";")
            if token.text == "}":
                message.end = token.offset
                return
            if token.text == ";":
                continue
            if token.text in ("message", "enum", "option", "extend"):
                self._skip_statement()
            elif token.text in ("reserved", "extensions"):
                self._ranges(message)
            elif token.text == "oneof":
                self._next("word")
                self._next("{")
                self._body(message)
            elif token.text == "map":
                self._next("<")
                while self._next().text != ">":
                    pass
                self._field(message, "map")
            else:
                label = token.text in ("optional", "required", "repeated")
                kind = self._next("word").text if label else token.text
                self._field(message, kind)

    def _field(self, message: Message, kind: str) -> None:
        named = self._next("word")
        self._next("=")
        number = self._next("number")
        value = self._whole(number)
        message.fields.append(Field(named.text, kind, value, named.line))
        self._skip_statement()

    def _whole(self, token: Token) -> int:
        """Return a number as protoc reads it: octal if it begins with 0."""
        octal = token.text[:1] == "0" and token.text.isdigit()
        try:
            return int(token.text, 8 if octal else 0)
        except ValueError:
            self._fail(token.line, f"{token.text} is no whole number")

    def _ranges(self, message: Message) -> None:
        while True:
            first = self._next("number", "string")
            if first.kind == "number":
                last = self._whole(first)
                if self._peek() == "to":
                    self._next()
                    end = self._next("number", "max")
                    last = MAX_NUMBER if end.text == "max" else self._whole(end)
                message.ranges.append((self._whole(first), last, first.line))
            if self._next(",", ";").text == ";":
                return
