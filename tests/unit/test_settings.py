"""The configuration: what is accepted, what is refused and in which words, and that no word is a secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from core.settings import Settings, SettingsError, load, parse

KEY = "k" * 43
README = Path(__file__).resolve().parents[2] / "README.md"
GOOD = f"""
[service]
secret_key = "{"s" * 32}"
data_dir = "/var/lib/wecom-crm"
[[corp]]
corpid = "ww1"
name = "One"
[[corp.callback]]
name = "contacts"
token = "token-1"
encoding_aes_key = "{KEY}"
previous = {{ token = "token-0", encoding_aes_key = "{KEY}" }}
[[corp.agent]]
agentid = 1000002
secret = "secret-1"
name = "Sales"
customer_data = true
[[corp.agent]]
agentid = 1000003
secret = "secret-2"
[[corp]]
corpid = "ww2"
[[corp.agent]]
agentid = 1000002
secret = "secret-3"
customer_data = true
"""


def read(text: str, **environ: str) -> Settings:
    return parse(tomllib.loads(text), environ)


def problems_of(text: str, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read(text, **environ)
    return raised.value.problems


def test_a_whole_file() -> None:
    settings = read(GOOD)
    one, two = settings.corps
    assert (one.corpid, one.name, two.name) == ("ww1", "One", "ww2")
    assert one.callbacks[0].token.get_secret_value() == "token-1"
    assert one.callbacks[0].previous is not None
    assert one.callbacks[0].previous.token.get_secret_value() == "token-0"
    assert one.customer_agent.secret_name == "agent:1000002"
    assert [agent.customer_data for agent in one.agents] == [True, False]
    assert settings.kafka is None


def test_what_is_left_out_has_a_default() -> None:
    settings = read(GOOD)
    assert (settings.service.host, settings.service.port, settings.service.admin_port) == ("127.0.0.1", 8080, 8081)
    assert settings.service.public_url == "http://127.0.0.1:8080"
    assert settings.database.url == "sqlite+aiosqlite:////var/lib/wecom-crm/crm.db"
    assert settings.wecom.api_base_url == "https://qyapi.weixin.qq.com"
    assert settings.wecom.timeouts.total == 15.0
    assert settings.service.answer_503 is False


def test_a_relative_data_folder_is_under_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read(GOOD.replace("/var/lib/wecom-crm", "./data"))
    assert settings.service.data_dir == tmp_path / "data"
    assert settings.database.url == f"sqlite+aiosqlite:///{tmp_path}/data/crm.db"


def test_nothing_can_be_changed() -> None:
    settings = read(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        settings.service.port = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.corps[0].corpid = "x"  # type: ignore[misc]


def test_the_environment_goes_over_the_tables() -> None:
    settings = read(
        GOOD,
        WECOM_CRM_DATABASE__URL="postgresql+asyncpg://u:p@db/crm",
        WECOM_CRM_SERVICE__PORT="9000",
        WECOM_CRM_WECOM__TIMEOUTS__TOTAL="3.5",
        WECOM_CRM_SERVICE__FRAME_ANCESTORS='["https://a.example"]',
        WECOM_CRM_SERVICE__VERIFY_FILES='{"WW_verify_x.txt": "x"}',
        wecom_crm_service__admin_port="9001",
        WECOM_CRM_CONFIG="elsewhere.toml",
        OTHER__VARIABLE="1",
    )
    assert settings.database.url == "postgresql+asyncpg://u:p@db/crm"
    assert (settings.service.port, settings.service.admin_port) == (9000, 9001)
    assert settings.wecom.timeouts.total == 3.5
    assert settings.wecom.timeouts.connect == 5.0
    assert settings.service.frame_ancestors == ("https://a.example",)
    assert settings.service.verify_files == {"WW_verify_x.txt": "x"}
    assert settings.service.public_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WECOM_CRM_CORP__0__NAME", "x", "lists ([[corp]]) can't be set in the environment, only in the file"),
        ("WECOM_CRM_DATABASE_URL", "x", "write two underscores after the table, as in WECOM_CRM_DATABASE__URL"),
        ("WECOM_CRM_SERVCE__PORT", "1", "there is no table [servce]; did you mean service?"),
        ("WECOM_CRM_SERVICE__FRAME_ANCESTORS", "x", "must be written as JSON"),
    ],
)
def test_a_variable_that_can_not_be_meant_so(name: str, value: str, problem: str) -> None:
    assert problems_of(GOOD, **{name: value}) == [f"{name}: {problem}"]


def test_the_key_of_the_readme_is_refused() -> None:
    found = re.search(r'secret_key = "(.+)"', README.read_text(encoding="utf-8"))
    assert found is not None
    (problem,) = problems_of(GOOD, WECOM_CRM_SERVICE__SECRET_KEY=found[1])
    assert "is the example's, which everybody knows" in problem
    assert found[1] not in problem


def test_a_problem_names_the_variable_it_came_from() -> None:
    assert problems_of(GOOD, WECOM_CRM_SERVICE__PORT="many") == [
        "[service] port (from WECOM_CRM_SERVICE__PORT): must be a whole number"
    ]
    assert problems_of(GOOD, WECOM_CRM_SERVICE__PRT="1") == [
        "[service] prt (from WECOM_CRM_SERVICE__PRT): is not known; did you mean port?"
    ]


@pytest.mark.parametrize(
    ("was", "now", "problem"),
    [
        ("ssssssss", "s", "[service] secret_key: must have at least 32 characters"),
        ("[service]\n", "[service]\nport = 70000\n", "[service] port: must be less than or equal to 65535"),
        ("[service]\n", '[service]\nlanguage = "fr"\n', "[service] language: must be 'zh-CN' or 'en'"),
        (
            "[service]\n",
            '[service]\npublic_url = "http://crm.example"\n',
            "[service] public_url: must begin with https",
        ),
        ("[service]\n", '[service]\npublic_url = "crm.example"\n', "[service] public_url: must be a URL that begins"),
        ("[service]\n", '[service]\npublic_url = "https://a.example:x"\n', "[service] public_url: must be a URL"),
        ("[service]\n", "[service]\nport = 8081\n", "[service] port and admin_port must differ"),
        ("[service]\n", '[service]\nverify_files = {"../x" = "x"}\n', "[service] verify_files: must map file names"),
        ("[service]\n", '[service]\nframe_ancestors = ["a; b"]\n', "[service] frame_ancestors: must be a list of or"),
        ("[service]\n", "[database]\nurl = 'oracle://x/y'\n[service]\n", "[database] url: must begin with sqlite+aio"),
        ("[service]\n", "[database]\nurl = 'sqlite+aiosqlite://'\n[service]\n", "[database] url: must name the data"),
        ("[service]\n", "[database]\nurl = 'mysql+asyncmy://h:x/y'\n[service]\n", "[database] url: is not a database"),
        ("[service]\n", '[wecom]\napi_base_url = "https://h/x"\n[service]\n', "[wecom] api_base_url: must be the orig"),
        (
            "[service]\n",
            '[wecom]\nauthorize_url = "https://h/x?a"\n[service]\n',
            "[wecom] authorize_url: must have nei",
        ),
        ("[service]\n", '[wecom]\nproxy = "socks5://h"\n[service]\n', "[wecom] proxy: must be a URL that begins with"),
        ("[service]\n", "[wecom]\ntimeouts = {totl = 1}\n[service]\n", "[wecom] timeouts.totl: is not known; did you"),
        ('"ww1"', '""', "[[corp]] number 1, corpid: must be 1 to 128 characters"),
        ('"contacts"', '"a b"', "[[corp]] number 1, [[corp.callback]] number 1, name: is part of the callback's addre"),
        ('"token-1"', '" "', "[[corp]] number 1, [[corp.callback]] number 1, token: must not be empty"),
        ('token = "token-1"\n', "", "[[corp]] number 1, [[corp.callback]] number 1, token: is missing: the Token tha"),
        (f'key = "{KEY}"\n', f'key = "{KEY}="\n', "[[corp]] number 1, [[corp.callback]] number 1, encoding_aes_key:"),
        (f'key = "{KEY}"\n', f'key = "{KEY[1:]}-"\n', "[[corp]] number 1, [[corp.callback]] number 1, encoding_aes_"),
        ("secret-1", "", "[[corp]] number 1, [[corp.agent]] number 1, secret: must not be empty"),
        ("1000003", "1000002", "[[corp]] number 1: several [[corp.agent]] tables have the same agentid"),
        ("customer_data = true", "", "[[corp]] number 1: 0 [[corp.agent]] tables have customer_data = true; exactly"),
        ('"secret-2"', '"s"\ncustomer_data = true', "[[corp]] number 1: 2 [[corp.agent]] tables have customer_"),
        ('"ww2"', '"ww1"', "several [[corp]] tables have the same corpid"),
    ],
)
def test_one_wrong_value_is_one_problem(was: str, now: str, problem: str) -> None:
    assert was in GOOD
    found = problems_of(GOOD.replace(was, now, 1))
    assert len(found) == 1
    assert found[0].startswith(problem)


KAFKA = """
[kafka]
bootstrap_servers = "kafka-1:9092, kafka-2:9092"
"""


def test_kafka_with_its_defaults() -> None:
    kafka = read(GOOD + KAFKA).kafka
    assert kafka is not None
    assert kafka.bootstrap_servers == "kafka-1:9092,kafka-2:9092"
    assert (kafka.topic, kafka.partitions, kafka.replication_factor) == ("wecom.contact-events", 6, 1)
    assert (kafka.group_id, kafka.security_protocol) == ("crm-sync", "PLAINTEXT")


def test_kafka_in_the_environment_alone() -> None:
    kafka = read(
        GOOD,
        WECOM_CRM_KAFKA__BOOTSTRAP_SERVERS="[::1]:9093",
        WECOM_CRM_KAFKA__PARTITIONS="12",
        WECOM_CRM_KAFKA__SECURITY_PROTOCOL="SASL_SSL",
        WECOM_CRM_KAFKA__SASL_USERNAME="crm",
        WECOM_CRM_KAFKA__SASL_PASSWORD="pass-word",
        WECOM_CRM_KAFKA__SSL_CAFILE="/etc/kafka/ca.pem",
    ).kafka
    assert kafka is not None
    assert (kafka.bootstrap_servers, kafka.partitions, kafka.sasl_username) == ("[::1]:9093", 12, "crm")
    assert kafka.sasl_password is not None
    assert kafka.sasl_password.get_secret_value() == "pass-word"
    assert kafka.ssl_cafile == Path("/etc/kafka/ca.pem")
    assert "pass-word" not in repr(kafka)


def test_kafka_servers_as_a_list() -> None:
    kafka = read(GOOD + KAFKA.replace('"kafka-1:9092, kafka-2:9092"', '["a:1", "b:2"]')).kafka
    assert kafka is not None
    assert kafka.bootstrap_servers == "a:1,b:2"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("", "[kafka] bootstrap_servers: is missing: where to find the cluster, as in"),
        ('bootstrap_servers = "kafka"', "[kafka] bootstrap_servers: must be text such as"),
        ('bootstrap_servers = "kafka:0"', "[kafka] bootstrap_servers: must be text such as"),
        ('bootstrap_servers = "kafka:9092,"', "[kafka] bootstrap_servers: must be text such as"),
        ('bootstrap_servers = "PLAINTEXT://kafka:9092"', "[kafka] bootstrap_servers: must be text such as"),
        ("bootstrap_servers = []", "[kafka] bootstrap_servers: must be text such as"),
        ("bootstrap_servers = [1]", "[kafka] bootstrap_servers: must be text in quotation marks"),
        ('topic = "a b"', "[kafka] topic: must be 1 to 249 letters"),
        ("partitions = 0", "[kafka] partitions: must be greater than or equal to 1"),
        ("replication_factor = 0", "[kafka] replication_factor: must be greater than or equal to 1"),
        ('group_id = ""', "[kafka] group_id: must be 1 to 128 characters"),
        ('security_protocol = "TLS"', "[kafka] security_protocol: must be 'PLAINTEXT', 'SSL'"),
        ('security_protocol = "SASL_SSL"', "[kafka] security_protocol with SASL needs sasl_username and sasl_password"),
        ('sasl_username = "u"', "[kafka] sasl_username: without effect; security_protocol must be SASL_SSL for it"),
        ('ssl_cafile = "ca.pem"', "[kafka] ssl_cafile: without effect; security_protocol must be SSL or SASL_SSL"),
        ('security_protocol = "SSL"\nssl_keyfile = "k"', "[kafka] ssl_keyfile needs ssl_certfile beside it"),
        ("grup = 1", "[kafka] grup: is not known; did you mean group_id?"),
    ],
)
def test_one_wrong_key_of_kafka_is_one_problem(keys: str, problem: str) -> None:
    table = "[kafka]\n" if keys == "" or "bootstrap_servers" in keys else KAFKA
    found = problems_of(f"{GOOD}{table}{keys}\n")
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_two_callbacks_of_one_name() -> None:
    twice = f'[[corp.callback]]\nname = "contacts"\ntoken = "t"\nencoding_aes_key = "{KEY}"\n[[corp.agent]]'
    assert problems_of(GOOD.replace("[[corp.agent]]", twice, 1)) == [
        "[[corp]] number 1: several [[corp.callback]] tables have the same name"
    ]


def test_an_empty_file() -> None:
    assert problems_of("") == [
        "there is no [[corp]] table; each corporation needs one",
        "[service] secret_key: is missing: any text of at least 32 characters; make one with: openssl rand -base64 32",
    ]


def test_tables_that_are_not_tables() -> None:
    assert problems_of("service = 3\ncorp = 3") == ["service: must be a table", "corp: must be a list"]


BAD = """
[service]
secret_key = "LEAK-1"
prot = "LEAK-2"
port = "LEAK-3"
language = "LEAK-4"
public_url = "http://LEAK-5.example"
[database]
url = "oracle://user:LEAK-6@host/name"
[kafka]
bootstrap_servers = "LEAK-7"
security_protocol = "SASL_SSL"
sasl_password = ["LEAK-7b"]
[wecom]
api_base_url = "https://user:LEAK-8@host"
timeouts = { total = "LEAK-9" }
[[corp]]
corpid = "LEAK\\u0000"
[[corp.callback]]
name = "LEAK 10"
token = ["LEAK-11"]
encoding_aes_key = "LEAK-12"
previous = { token = "LEAK-13" }
[[corp.agent]]
agentid = "LEAK-14"
secrt = "LEAK-15"
[[corp]]
corpid = "ww2"
[[corp.agent]]
agentid = 1
secret = 12345
customer_data = true
"""


def test_every_problem_at_once_and_no_value() -> None:
    with pytest.raises(SettingsError) as raised:
        read(BAD, WECOM_CRM_WECOM__PROXY="LEAK-16", WECOM_CRM_SERVICE__VERIFY_FILES="LEAK-17")
    told = str(raised.value)
    places = [problem.partition(":")[0].partition(" (")[0] for problem in raised.value.problems]
    assert sorted(places) == sorted(
        [
            "WECOM_CRM_SERVICE__VERIFY_FILES",
            "[kafka] bootstrap_servers",
            "[kafka] security_protocol with SASL needs sasl_username",
            "[kafka] sasl_password",
            "[[corp]] number 1",
            "[service] public_url",
            "[service] port",
            "[service] secret_key",
            "[service] language",
            "[service] prot",
            "[database] url",
            "[wecom] api_base_url",
            "[wecom] proxy",
            "[wecom] timeouts.total",
            "[[corp]] number 1, corpid",
            "[[corp]] number 1, [[corp.callback]] number 1, name",
            "[[corp]] number 1, [[corp.callback]] number 1, token",
            "[[corp]] number 1, [[corp.callback]] number 1, encoding_aes_key",
            "[[corp]] number 1, [[corp.callback]] number 1, previous.encoding_aes_key",
            "[[corp]] number 1, [[corp.agent]] number 1, agentid",
            "[[corp]] number 1, [[corp.agent]] number 1, secret",
            "[[corp]] number 1, [[corp.agent]] number 1, secrt",
            "[[corp]] number 2, [[corp.agent]] number 1, secret",
        ]
    )
    assert "LEAK" not in told
    assert "12345" not in told
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_printing_the_settings_shows_no_secret() -> None:
    settings = read(GOOD, WECOM_CRM_DATABASE__URL="postgresql+asyncpg://u:password@db/crm")
    for secret in ("token-1", "token-0", "secret-1", KEY, "s" * 32, "password"):
        assert secret not in repr(settings)


def test_the_file_is_found_by_option_then_variable_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("option", "variable", "folder"):
        text = GOOD.replace('"One"', f'"{name}"')
        (tmp_path / ("wecom-crm.toml" if name == "folder" else f"{name}.toml")).write_text(text)
    environ = {"WECOM_CRM_CONFIG": str(tmp_path / "variable.toml")}
    assert load(tmp_path / "option.toml", environ).corps[0].name == "option"
    assert load(None, environ).corps[0].name == "variable"
    assert load(None, {}).corps[0].name == "folder"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no configuration file"),
        (b"\xff", "is not UTF-8 text"),
        (b'[service]\nsecret_key = "LEAK', "is not valid TOML"),
        (b'[service]\nsecret_key = LEAK\n"', "is not valid TOML"),
    ],
)
def test_a_file_that_can_not_be_read(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=problem) as raised:
        load(path, {})
    assert str(path) in str(raised.value)
    assert "LEAK" not in str(raised.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        load(tmp_path, {})
