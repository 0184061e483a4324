"""Draw the example workflow for ComfyUI: `python docs/graph.py` writes docs/comfyui.svg."""

import json
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
WORKFLOW = DOCS.parent / "comfyui" / "example_workflows" / "load_atoms.json"
PICTURE = DOCS / "comfyui.svg"

_HEAD, _ROW, _EDGE = 26, 20, 20
_TITLES = {"AtomtuneLoadAtoms": "Load Atoms", "CheckpointLoaderSimple": "Load Checkpoint", "VAEDecode": "VAE Decode"}
_TITLES |= {"EmptyLatentImage": "Empty Latent Image", "SaveImage": "Save Image"}
_COLOURS = {"MODEL": "#8a5fbf", "CLIP": "#b8860b", "VAE": "#c0392b", "CONDITIONING": "#d2691e", "LATENT": "#c2569b"}
_GREY = "#5f6b7a"


def picture(workflow: dict[str, Any]) -> str:
    """The graph as SVG: nodes with their inputs, outputs and values where the workflow has them, links between."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    parts = [_link(nodes[link[1]], link[2], nodes[link[3]], link[4], link[5]) for link in workflow["links"]]
    parts += [_node(node) for node in workflow["nodes"]]
    width = max(node["pos"][0] + node["size"][0] for node in workflow["nodes"]) + 2 * _EDGE
    height = max(node["pos"][1] + node["size"][1] for node in workflow["nodes"]) + 2 * _EDGE
    view = f'viewBox="{-_EDGE} {-_EDGE} {width} {height}"'
    style = "text { font: 13px sans-serif; fill: #1b2430 } .head { font-weight: 600 } .value { fill: #5f6b7a }"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img" aria-label="The graph of load_atoms.json">',
            f"<style>{style}</style>",
            f'<rect x="{-_EDGE}" y="{-_EDGE}" width="{width}" height="{height}" fill="#f4f6f8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _slot(node: dict[str, Any], index: int, side: int) -> tuple[float, float]:
    """Where an input (side 0) or an output (side 1) is."""
    x, y = node["pos"]
    return x + side * node["size"][0], y + _HEAD + _ROW * (index + 0.5)


def _link(source: dict[str, Any], output: int, target: dict[str, Any], entry: int, kind: str) -> str:
    (x, y), (u, v) = _slot(source, output, 1), _slot(target, entry, 0)
    bend = max(30.0, (u - x) / 2)
    path = f"M {x} {y} C {x + bend} {y} {u - bend} {v} {u} {v}"
    return f'<path d="{path}" fill="none" stroke="{_COLOURS.get(kind, _GREY)}" stroke-width="2.5"/>'


def _node(node: dict[str, Any]) -> str:
    (x, y), (width, height) = node["pos"], node["size"]
    own = node["type"] == "AtomtuneLoadAtoms"
    title = node.get("title") or _TITLES.get(node["type"], node["type"])
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#fff" '
        f'stroke="{"#1f6feb" if own else "#b6c0cc"}" stroke-width="{2.5 if own else 1}"/>',
        f'<text class="head" x="{x + 10}" y="{y + 18}">{escape(title)}</text>',
    ]
    rows = max(len(node["inputs"]), len(node["outputs"]))
    for side, slots in enumerate((node["inputs"], node["outputs"])):
        for index, slot in enumerate(slots):
            u, v = _slot(node, index, side)
            anchor, shift = ("end", -10) if side else ("start", 10)
            parts.append(f'<circle cx="{u}" cy="{v}" r="4.5" fill="{_COLOURS.get(slot["type"], _GREY)}"/>')
            parts.append(f'<text x="{u + shift}" y="{v + 4}" text-anchor="{anchor}">{escape(slot["name"])}</text>')
    for index, value in enumerate(node["widgets_values"]):
        v = y + _HEAD + _ROW * (rows + index) + 16
        parts.append(f'<text class="value" x="{x + 10}" y="{v}">{escape(str(value)) or "–"}</text>')
    return "\n".join(parts)


if __name__ == "__main__":
    PICTURE.write_text(picture(json.loads(WORKFLOW.read_text(encoding="utf-8"))), encoding="utf-8")
