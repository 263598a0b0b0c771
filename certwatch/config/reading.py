"""One file being checked: its values, the models they are held against, and every mistake on the way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from certwatch.config.document import Document
from certwatch.config.mistakes import Mistake, Path, told, where
from certwatch.config.models import complaints, keys_of, models_in, secrets_of, unknown_key
from certwatch.config.secrets import Substitution, read_secret, secret_files
from certwatch.plugins.guard import PluginFailed, guard

Model = TypeVar("Model", bound=BaseModel)


class Reading:
    """Collects mistakes instead of raising at the first. Made for one load."""

    def __init__(self, document: Document, env: Mapping[str, str], *, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.remarks: list[str] = []
        self._document = document
        self._substitution = Substitution(env)
        self.value: Any = self._substitution.apply(document.value, (), document.lines)
        self.mistakes += self._substitution.mistakes
        #: Where a reference to the environment leads nowhere, which has been said.
        self._unset = {each.path for each in self._substitution.mistakes}

    def say(self, path: Path, message: str) -> None:
        if path in self._unset:
            return  # what else is wrong with it follows from that
        self.mistakes.append(Mistake(line=self._document.line(path), path=path, message=message))

    def remark(self, path: Path, message: str) -> None:
        line = self._document.line(path)
        self.remarks.append(where(self.file, line) + told(Mistake(line=line, path=path, message=message)))

    def in_document(self, path: Path) -> Any:
        """What stands there, with nothing put in place of references. `path`: of something that is there."""
        value = self._document.value
        for key in path:
            value = value[key]
        return value

    def as_written(self, path: Path, value: Any) -> Any:
        """The text of a scalar that was taken for a number or a truth value."""
        return self._document.written.get(path, value)

    def validate(
        self,
        model: type[Model],
        value: Mapping[str, Any],
        path: Path,
        *,
        plugin: tuple[str, str] | None = None,
        beside: tuple[str, ...] = (),
        secrets: frozenset[str] = frozenset(),
    ) -> Model | None:
        """A model's value, or None with what is wrong said.

        `plugin`: (group, kind) whose code the model is. `beside`: keys of the same mapping that another model has.
        `secrets`: keys that may stand in a file though their type does not say so.
        """
        value = self._with_secret_files(model, dict(value), path, secrets)
        known = [*keys_of(model), *beside]
        try:
            with _as_plugin(plugin):
                try:
                    return model.model_validate(value)
                except ValidationError as error:
                    said = complaints(
                        error, model, value, is_secret=lambda at: self._substitution.is_secret((*path, *at))
                    )
        except PluginFailed as error:
            self.say(path, str(error))
            return None
        for at, message in said.items():
            if len(at) == 1 and message.startswith("unknown key"):
                message = unknown_key(str(at[0]), known)
            self.say((*path, *at), message)
        return None

    def _with_secret_files(
        self, model: type[BaseModel], value: dict[str, Any], path: Path, more: frozenset[str]
    ) -> dict[str, Any]:
        secrets = secrets_of(model) | more
        for key in list(secret_files(value, frozenset(keys_of(model)), secrets)):
            file, name = value.pop(key), key.removesuffix("_file")
            at = (*path, key)
            if name in value:
                self.say(at, f'"{name}" is given as well: one of them is enough')
            elif not isinstance(file, str):
                self.say(at, "expected the path of a file")
                value[name] = ""
            else:
                try:
                    value[name] = read_secret(file)
                except ValueError as error:
                    self.say(at, str(error))
                    value[name] = ""
            self._substitution.secret.add((*path, name))
        for name in secrets - more:
            at = (*path, name)
            if isinstance(value.get(name), str) and not self._substitution.is_secret(at):
                self.remark(at, f"a secret stands in the file itself: give it as {name}_file or as ${{NAME}}")
                self._substitution.secret.add(at)
        for name, field in model.model_fields.items():
            key = field.alias or name
            for inner in models_in(field.annotation):
                value = self._inside(inner, value, key, path)
        return value

    def _inside(self, inner: type[BaseModel], value: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
        held = value.get(key)
        if isinstance(held, dict):
            return {**value, key: self._with_secret_files(inner, dict(held), (*path, key), frozenset())}
        if isinstance(held, list):
            return {
                **value,
                key: [
                    self._with_secret_files(inner, dict(each), (*path, key, index), frozenset())
                    if isinstance(each, dict)
                    else each
                    for index, each in enumerate(held)
                ],
            }
        return value


@contextmanager
def _as_plugin(plugin: tuple[str, str] | None) -> Iterator[None]:
    if plugin is None:
        yield
    else:
        with guard(*plugin):
            yield
