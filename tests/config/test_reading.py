"""Secrets of a plug-in's own keys: from files or the environment, shown to nobody."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from certwatch.config.document import parse
from certwatch.config.reading import Reading


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: str
    password: SecretStr


class Alerts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    token: SecretStr | None = None
    login: Login | None = None
    others: list[Login] = Field(default_factory=list)
    #: A key of its own that ends so is no secret's file.
    key_file: str = ""

    @field_validator("url")
    @classmethod
    def _check(cls, value: str) -> str:
        if not value.startswith("http"):
            raise ValueError(f"not a URL: {value}")
        return value


def reading(text: str, **env: str) -> tuple[Alerts | None, Reading]:
    it = Reading(parse(text), env, file="certwatch.yaml")
    return it.validate(Alerts, it.value, ()), it


def test_a_secret_comes_from_a_file_at_any_depth(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    alerts, it = reading(
        f"{{url: http://x, token_file: {secret}, login: {{user: a, password_file: {secret}}},"
        f" others: [{{user: b, password_file: {secret}}}], key_file: /etc/key}}"
    )
    assert alerts is not None
    assert alerts.login is not None
    passwords = [alerts.token, alerts.login.password, alerts.others[0].password]
    assert [each.get_secret_value() for each in passwords if each is not None] == ["hunter2"] * 3
    assert alerts.key_file == "/etc/key"
    assert (it.mistakes, it.remarks) == ([], [])


def test_a_missing_secret_file_is_a_mistake_of_its_key() -> None:
    _, it = reading("url: http://x\nlogin:\n  user: a\n  password_file: /nonexistent\n")
    (mistake,) = it.mistakes
    assert (mistake.line, mistake.path) == (4, ("login", "password_file"))
    assert mistake.message == "/nonexistent cannot be read: No such file or directory"


def test_a_secret_in_the_file_itself_is_remarked_and_not_repeated() -> None:
    alerts, it = reading("{url: http://x, token: hunter2}")
    assert alerts is not None
    assert "hunter2" not in repr(alerts)
    (remark,) = it.remarks
    assert "token_file" in remark
    assert "hunter2" not in remark


def test_a_validator_that_repeats_its_value_does_not_tell_a_secret() -> None:
    _, it = reading("url: '${URL}'", URL="user:hunter2@host")
    assert [each.message for each in it.mistakes] == ["is not accepted (its value is not shown)"]
    _, it = reading("url: plain")
    assert [each.message for each in it.mistakes] == ["not a URL: plain"]


def test_the_nearest_key_is_named_at_any_depth() -> None:
    _, it = reading("{url: http://x, login: {user: a, passwort: b}, others: [{usr: c}]}")
    said = {each.path: each.message for each in it.mistakes}
    assert said["login", "passwort"] == 'unknown key, did you mean "password"?'
    assert said["others", 0, "usr"] == 'unknown key, did you mean "user"?'


def test_a_model_that_raises_what_it_must_not_is_a_mistake_too() -> None:
    class Broken(BaseModel):
        @field_validator("*")
        @classmethod
        def _check(cls, value: object) -> object:
            raise KeyError("oops")

        x: int = 0

    it = Reading(parse("x: 1"), {}, file="certwatch.yaml")
    assert it.validate(Broken, it.value, (), plugin=("collectors", "broken")) is None
    assert it.mistakes[0].message == "collector 'broken' failed: KeyError('oops')"
