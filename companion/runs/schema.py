"""What a record must look like, checked by hand: each check names what is wrong, or nothing."""

import hashlib
import json
from pathlib import Path
from typing import Any

CONFIG = {
    "name": str, "experiment": str, "choices": dict, "seed": int, "subset": int, "data": dict,
    "epochs": int, "complete": bool,
}  # fmt: skip
DATA = {"name": str, "split": str, "source": str, "sha256": str}
METRIC = {"value": float, "error": float, "n": int, "unit": str}
ROW = {"epoch": int, "seconds": float}
WORDS = {str: "text", dict: "names with values", int: "a whole number", float: "a number",
         bool: "true or false"}  # fmt: skip


def fits(value: Any, kind: type) -> bool:
    """Whether a value is of a kind; a whole number is a number too, a truth value neither."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def amiss(content: Any, schema: dict[str, type], title: str) -> str:
    """Say which entry is missing or of another kind; "" if none is."""
    if not isinstance(content, dict):
        return f"{title} must be names with values, got {content!r:.40}"
    for key, kind in schema.items():
        if key not in content:
            return f"{title} has no {key!r}"
        if not fits(content[key], kind):
            return f"{key!r} of {title} must be {WORDS[kind]}, got {content[key]!r:.40}"
    return ""


def amiss_in_config(config: Any, folder: Path) -> str:
    """Say what is wrong with a config that lies in this folder; "" if nothing is."""
    if found := amiss(config, CONFIG, "the record") or amiss(config["data"], DATA, "its data"):
        return found
    if found := amiss(config.get("fingerprint", {}), {}, "the fingerprint"):
        return found
    name, epochs = config["name"], config["epochs"]
    if name not in (folder.name, folder.parent.name):
        return f"it is the record of {name}"
    if folder.name.startswith("epochs-") and folder.name != f"epochs-{epochs}":
        return f"it is the record of {epochs} epochs"
    if "files" in config or "sha256" in config:
        return amiss_in_seal(config)
    return ""


def amiss_in_seal(config: dict[str, Any]) -> str:
    """Say whether the checksums of a sealed config are not what they were."""
    found = amiss(config, {"files": dict, "sha256": str}, "its seal")
    return found or ("" if config["sha256"] == checksum(config) else "its checksum differs")


def checksum(config: dict[str, Any]) -> str:
    """The sha256 of all that a config says, but for this number itself."""
    said = {key: value for key, value in config.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def amiss_in_metrics(metrics: Any) -> str:
    """Say what is wrong with final numbers; "" if nothing is."""
    found = amiss(metrics, {}, "the numbers")
    return found or next(
        filter(None, (amiss(found, METRIC, name) for name, found in metrics.items())), ""
    )


def amiss_in_history(history: list[Any], epochs: int) -> str:
    """Say what is wrong with the rows of a history; "" if nothing is."""
    if len(history) != epochs:
        return f"it has {len(history)} rows for {epochs} epochs"
    for k, row in enumerate(history, 1):
        if found := amiss(row, ROW, f"row {k}"):
            return found
        if found := amiss(row, dict.fromkeys(row, float), f"row {k}"):
            return found
        if row["epoch"] != k:
            return f"row {k} is of epoch {row['epoch']}"
    return ""
