"""Nodes whose inputs depend on others, as newer hosts have them; none on older ones."""

from comfy_api.latest import io

NODES = {}

if hasattr(io, "Autogrow"):

    class Sum(io.ComfyNode):
        """As many numbers as there are."""

        @classmethod
        def define_schema(cls):
            template = io.Autogrow.TemplatePrefix(io.Int.Input("number"), "number", min=1, max=6)
            return io.Schema(
                node_id="OutsideSum",
                category="outside",
                inputs=[io.Autogrow.Input("numbers", template=template)],
                outputs=[io.Int.Output()],
                hidden=[io.Hidden.unique_id],
                is_output_node=True,
            )

        @classmethod
        def execute(cls, numbers):
            found = sum(numbers.values())
            about = [sorted(numbers), found, cls.hidden.unique_id]
            return io.NodeOutput(found, ui={"sum": [about]})

    class Choice(io.ComfyNode):
        """Inputs of the option that is chosen; one of them is asked for only if it is needed."""

        @classmethod
        def define_schema(cls):
            options = [
                io.DynamicCombo.Option("number", [io.Int.Input("value", lazy=True)]),
                io.DynamicCombo.Option("text", [io.String.Input("text", default="")]),
            ]
            return io.Schema(
                node_id="OutsideChoice",
                category="outside",
                inputs=[io.DynamicCombo.Input("which", options=options)],
                outputs=[io.AnyType.Output()],
                is_output_node=True,
            )

        @classmethod
        def check_lazy_status(cls, which):
            value = which.get("value") if isinstance(which, dict) else None
            return [value[1]] if isinstance(value, tuple) and value[0] is None else []

        @classmethod
        def execute(cls, which):
            return io.NodeOutput(None, ui={"which": [sorted(which.items())]})

    class Everything(io.ComfyNode):
        """Inputs that nobody has named."""

        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id="OutsideEverything",
                category="outside",
                inputs=[],
                outputs=[],
                is_output_node=True,
                accept_all_inputs=True,
            )

        @classmethod
        def execute(cls, **given):
            return io.NodeOutput(ui={"given": [sorted(given.items())]})

    NODES = {"OutsideSum": Sum, "OutsideChoice": Choice, "OutsideEverything": Everything}
