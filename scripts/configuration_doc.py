#!/usr/bin/env python3
"""Writes docs/configuration.md from the options of this build: run it after a change of any Options class."""

from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, Final, TypeAlias

from agent import config, plugins
from agent.flow import Route
from agent.options import Options, OutboxOptions, Secret

TARGET: Final = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
_LIMITS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_KINDS: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_SHARED: Final = {"Secret": "[secret](#secrets)", "OutboxOptions": "[section](#outbox)"}
"""Sections that have a table of their own."""
_Schema: TypeAlias = dict[str, Any]

_PAGE: Final = Template("""\
# Configuration

One YAML file. [config/vedette.example.yaml](../config/vedette.example.yaml) is a whole one with every key explained.
This page lists the same keys. `scripts/configuration_doc.py` writes it; do not edit it by hand.

```sh
vedette check vedette.yaml           # every mistake at once; exit code 0, or 78 when there is one
vedette check vedette.yaml --probe   # also uses each camera, engine and sink once; exit code 1 when one fails
```

Relative paths start at the folder of the file. `~` is the home folder of the agent's user. A change takes effect at a
reload (`sudo systemctl reload vedette`, SIGHUP), or when the agent starts again.

## Mistakes

Each has one line: file, line, key, what is wrong, and what is allowed.

```text
vedette.yaml:5: engines.cloud.api_key: give a reference, not the secret: env, file or credential
vedette.yaml:7: routing.deadline_ms: should be greater than or equal to 50 (it is 5)
vedette.yaml:8: routing.mode: 'atuo' is unknown; did you mean auto? Allowed: auto, local_only, cloud_only
```

An agent that is started with such a file ends with exit code 78, on which the systemd unit does not restart it.
YAML anchors, aliases and merge keys (`<<`) work. Dates stay text, and a key that stands twice is a mistake.

## Secrets

Passwords and keys never stand in the file, in log lines or in results. The file says where a secret is, in exactly one
of three ways. A value in place of the reference is refused, and never repeated in the message.

$secret

A secret is read when the part that needs it opens. Spaces and line ends around it do not count. Under systemd,
`LoadCredential=mqtt_password:/etc/vedette/credentials/mqtt_password` in the unit goes with
`password: {credential: mqtt_password}` here. In a log line a known secret, a password in a URL and a URL parameter such
as `api_key=` are shown as `***`.

## Completion in an editor

```sh
vedette schema > vedette.schema.json
```

writes the JSON Schema of the file. Editors with the YAML language server (VS Code with the YAML extension, Neovim,
Helix, Emacs) complete and check keys when the file begins with this line, as the example does:

```yaml
# yaml-language-server: $$schema=vedette.schema.json
```

## The whole file

$whole

## Sources

`cameras[].source`, chosen by `type`.

$sources

## Local engines

`engines.local`, chosen by `type`.

$local

## Cloud engines

`engines.cloud`, chosen by `type`.

$cloud

## Sinks

`sinks[]`, chosen by `type`.

$sinks

### `outbox`

The same section in every sink. What a sink has taken within the commit interval never reaches the medium.

$outbox
""")


def page() -> str:
    """The text of docs/configuration.md."""
    return _PAGE.substitute(
        secret=_table(Secret),
        whole=_table(config.Config),
        sources=_sections(plugins.options_of("sources")),
        local=_sections(plugins.options_of("engines", route=Route.LOCAL)),
        cloud=_sections(plugins.options_of("engines", route=Route.CLOUD)),
        sinks=_sections(plugins.options_of("sinks")),
        outbox=_table(OutboxOptions),
    )


def _sections(choices: tuple[type[Options], ...]) -> str:
    return "\n\n".join(_section(options) for options in choices)


def _section(options: type[Options]) -> str:
    schema = options.model_json_schema()
    title = f"### `type: {schema['properties']['type']['const']}`\n\n{schema['description'].splitlines()[0]}"
    has_keys = len(schema["properties"]) > 1
    return f"{title}\n\n{_table(options)}" if has_keys else f"{title} It has no other key."


def _table(options: type[Options]) -> str:
    schema = options.model_json_schema()
    rows = "\n".join(_rows(schema, schema.get("$defs", {}), prefix=""))
    return f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _rows(section: _Schema, defs: _Schema, *, prefix: str) -> Iterator[str]:
    """A row for each key; the keys of a section follow it."""
    for key, field in section["properties"].items():
        value = _resolved(field, defs)
        if key == "type" and "const" in value:
            continue
        default = "needed" if key in section.get("required", ()) else _shown(field.get("default"))
        meaning = field.get("description", "").replace("|", "\\|")
        yield f"| `{prefix}{key}` | {_kind(value)} | {default} | {meaning} |"
        item = _resolved(value.get("items", {}), defs)
        inner, dots = (item, "[].") if item else (value, ".")
        if "properties" in inner and inner.get("title") not in _SHARED:
            yield from _rows(inner, defs, prefix=f"{prefix}{key}{dots}")


def _resolved(field: _Schema, defs: _Schema) -> _Schema:
    """What a field holds, past references and the choice to leave it out."""
    choices = [_resolved(choice, defs) for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) > 1:
        return {"choices": choices}
    target = defs[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
    return {**(choices[0] if choices else {}), **target, **field}


def _kind(value: _Schema) -> str:
    if "choices" in value:
        return " or ".join(_kind(choice) for choice in value["choices"])
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if (shared := _SHARED.get(value.get("title", ""))) is not None:
        return shared
    special = {"path": "path", "uri": "URL"}.get(value.get("format", ""))
    plain = {"array": "list", "object": "section", **_KINDS}[value["type"]]
    limits = [f"{sign} {value[name]:g}" for name, sign in _LIMITS.items() if name in value]
    return ", ".join([special or plain, *limits])


def _shown(default: object) -> str:
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET}")
