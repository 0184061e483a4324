"""Atoms files as `<lora:NAME:1>` in A1111 and Forge. See docs/a1111.md."""

from modules import script_callbacks


def _install() -> None:
    # when all scripts have been loaded, so that the extension of LoRA files is there whatever the order was
    import networks

    if hasattr(networks, "module_types"):
        from atomtune_a1111 import install
    else:
        from atomtune_forge import install
    install(networks)


script_callbacks.on_before_ui(_install)
