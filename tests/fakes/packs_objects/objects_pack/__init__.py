"""A node pack that uses models in most of the ways that packs do. It knows of no sandbox."""

from __future__ import annotations

import copy
import pickle
import time
from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import latent_preview
import torch

from nodes import NODE_CLASS_MAPPINGS as CORE
from nodes import CLIPTextEncode, common_ksampler


class Node:
    """What all nodes here have in common."""

    FUNCTION = "run"
    CATEGORY = "tests"


def inputs(**types: Any) -> Any:
    """An ``INPUT_TYPES``."""
    return classmethod(
        lambda cls: {"required": {k: v if isinstance(v, tuple) else (v,) for k, v in types.items()}}
    )


class Encode(Node):
    """Text to CONDITIONING, by CLIP's methods and by ComfyUI's node."""

    INPUT_TYPES = inputs(clip="CLIP", text="STRING")
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "CLIP")

    def run(self, clip: Any, text: str) -> Any:
        """See the class."""
        own = clip.clone()
        cond, pooled = own.encode_from_tokens(own.tokenize(text), return_pooled=True)
        (core,) = CLIPTextEncode().encode(clip, text)
        return [[cond, {"pooled_output": pooled}]], core, clip


class Codes(Node):
    """Latents to a picture and back."""

    INPUT_TYPES = inputs(vae="VAE", samples="LATENT")
    RETURN_TYPES = ("IMAGE", "LATENT", "STRING")

    def run(self, vae: Any, samples: Any) -> Any:
        """See the class."""
        picture = vae.decode(samples["samples"])
        said = [vae.latent_channels, vae.spacial_compression_decode(), vae.downscale_ratio]
        return picture, {"samples": vae.encode(picture[..., :3])}, repr(said)


def stronger(args: Any) -> torch.Tensor:
    """A cfg function [batch, channels, height, width]."""
    return args["uncond"] + (args["cond"] - args["uncond"]) * (args["cond_scale"] * 0.5)


class Levels(torch.nn.Module, comfy.model_sampling.CONST):
    """Noise levels of this pack's own: no class of ComfyUI's knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sigmas", (torch.arange(1, 1001) / 1000) ** 1.5)

    @property
    def sigma_min(self) -> Any:
        """The smallest, []."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Any:
        """The greatest, []."""
        return self.sigmas[-1]

    def timestep(self, sigma: Any) -> Any:
        """Of a level."""
        return sigma**1.1

    def sigma(self, timestep: Any) -> Any:
        """Level of a timestep."""
        return timestep ** (1 / 1.1)

    def percent_to_sigma(self, percent: float) -> float:
        """From the whole to the level."""
        return (1.0 - percent) ** 1.5


class Bare(torch.nn.Module):
    """The same without any class of ComfyUI's: flow matching in this pack's own words."""

    sigma_data = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.shift = {"tensors": [torch.ones(2)]}
        self.levels = Levels()
        self.register_buffer("sigmas", self.levels.sigmas)

    sigma_min, sigma_max = Levels.sigma_min, Levels.sigma_max

    def timestep(self, sigma: Any) -> Any:
        """Of a level."""
        return self.levels.timestep(sigma)

    def sigma(self, timestep: Any) -> Any:
        """Level of a timestep."""
        return self.levels.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        """From the whole to the level."""
        return self.levels.percent_to_sigma(percent)

    def calculate_input(self, sigma: Any, noise: Any) -> Any:
        """What the model sees."""
        return noise

    def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
        """What it means."""
        return model_input - model_output * sigma.view(-1, 1, 1, 1)

    def noise_scaling(self, sigma: Any, noise: Any, latent_image: Any, max_denoise: Any = False):
        """The start."""
        return sigma * noise + (1.0 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma: Any, latent: Any) -> Any:
        """The end."""
        return latent / (1.0 - sigma)


class Patch(Node):
    """A MODEL with a function of this pack in it."""

    INPUT_TYPES = inputs(model="MODEL", how="STRING")
    RETURN_TYPES = ("MODEL",)

    def run(self, model: Any, how: str) -> Any:
        """See the class."""
        own = model.clone()
        if how == "cfg":
            own.set_model_sampler_cfg_function(stronger)
        elif how == "post":
            own.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.9)
        elif how == "wrapper":
            own.set_model_unet_function_wrapper(
                lambda apply, args: apply(args["input"] * 1.0, args["timestep"], **args["c"]) * 0.95
            )
        elif how == "outer":

            def outer(executor: Any, noise: Any, *args: Any, **kwargs: Any) -> Any:
                assert executor.class_obj.model_patcher.model is own.model
                return executor(noise * 0.9, *args, **kwargs)

            own.add_wrapper_with_key("outer_sample", "mine", outer)
        elif how == "options":
            to = own.model_options["transformer_options"].copy()
            to["mine"] = {"a": [1, 2]}
            own.model_options["transformer_options"] = to
            assert "mine" in own.model_options["transformer_options"]
            assert "mine" not in model.model_options["transformer_options"]
        elif how == "sampling":

            class Shifted(
                comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST
            ):
                pass

            made = Shifted(model.model.model_config)
            made.set_parameters(shift=2.5)
            own.add_object_patch("model_sampling", made)
        elif how == "levels":
            own.add_object_patch("model_sampling", Levels())
        elif how == "bare levels":
            own.add_object_patch("model_sampling", Bare())
        elif how == "dies":
            import os

            own.set_model_sampler_cfg_function(lambda args: os._exit(5))
        elif how == "raises":
            own.set_model_sampler_cfg_function(lambda args: args["no such key"])
        return (own,)


class Layer(Node):
    """A layer whose weights are what another node gave."""

    INPUT_TYPES = inputs(samples="LATENT")
    RETURN_TYPES = ("LATENT",)

    def run(self, samples: Any) -> Any:
        """See the class."""
        layer = torch.nn.Linear(8, 8, bias=False)
        layer.weight.data = samples["samples"][0, 0]
        return ({"samples": layer(samples["samples"])},)


class Sample(Node):
    """Sampling in each of the ways there are."""

    INPUT_TYPES = inputs(
        model="MODEL", positive="CONDITIONING", negative="CONDITIONING", latent="LATENT",
        how="STRING",
    )  # fmt: skip
    RETURN_TYPES = ("LATENT",)

    def run(self, model: Any, positive: Any, negative: Any, latent: Any, how: str) -> Any:
        """See the class."""
        if how == "common":
            return common_ksampler(
                model, 7, 3, 2.0, "euler", "simple", positive, negative, latent, denoise=1.0
            )
        if how == "node":
            return CORE["KSampler"]().sample(
                model, 7, 3, 2.0, "euler", "simple", positive, negative, latent
            )
        image = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
        noise = comfy.sample.prepare_noise(image, 7)
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 3)
        assert sampling.sigma_max >= sampling.percent_to_sigma(0.5) >= sampling.sigma_min
        seen: dict[str, Any] = {}
        shown = latent_preview.prepare_callback(model, 3, seen)
        if how == "custom":
            sampler = comfy.samplers.sampler_object("euler")
            found = comfy.sample.sample_custom(
                model, noise, 2.0, sampler, sigmas, positive, negative, image, callback=shown,
                seed=7,
            )  # fmt: skip
            found = found + model.model.process_latent_out(seen["x0"].cpu())
        elif how == "own":

            def mine(denoise: Any, x: Any, levels: Any, extra_args: Any, callback: Any, **_: Any):
                for i in range(len(levels) - 1):
                    clean = denoise(x, levels[i] * x.new_ones([x.shape[0]]), **extra_args)
                    if callback is not None:
                        callback({"x": x, "i": i, "sigma": levels[i], "denoised": clean})
                    x = x + (x - clean) / levels[i] * (levels[i + 1] - levels[i])
                return x

            steps: list[int] = []
            found = comfy.sample.sample_custom(
                model, noise, 2.0, comfy.samplers.KSAMPLER(mine), sigmas, positive, negative,
                image, callback=lambda step, x0, x, total: steps.append(step), seed=7,
            )  # fmt: skip
            assert steps == [0, 1, 2]
        elif how == "guider":
            guider = comfy.samplers.CFGGuider(model)
            guider.set_conds(positive, negative)
            guider.set_cfg(2.0)
            found = guider.sample(
                noise, image, comfy.samplers.sampler_object("euler"), sigmas, callback=shown,
                seed=7,
            )  # fmt: skip
        else:
            whole = comfy.samplers.KSampler(
                model, 3, model.load_device, "euler", "simple", 1.0, model.model_options
            )
            assert torch.equal(whole.sigmas.cpu(), sigmas.cpu())
            found = whole.sample(noise, positive, negative, 2.0, image, seed=7, callback=shown)
        return ({"samples": found},)


class Load(Node):
    """VAEs: from the weights of a file as they are, from some that were changed, by a node."""

    INPUT_TYPES = inputs(model="MODEL", vae="STRING", how="STRING")
    RETURN_TYPES = ("VAE", "STRING")

    def run(self, model: Any, vae: str, how: str) -> Any:
        """See the class."""
        if how == "node":
            (found,) = CORE["VAELoader"]().load_vae(vae)
        else:
            path = folder_paths.get_full_path_or_raise("vae", vae)
            weights = comfy.utils.load_torch_file(path)
            if how == "changed":
                weights["unknown"] = torch.zeros(1)
                del weights["unknown"]
                weights = {key: value.clone() for key, value in weights.items()}
            found = comfy.sd.VAE(sd=weights)
        shapes = {key: tuple(value.shape) for key, value in model.model_state_dict().items()}
        return found, repr(sorted(shapes.items())[:3])


class Same(Node):
    """What a handle is: the same for the same object, in lists, copied; not to be pickled."""

    INPUT_TYPES = inputs(one="MODEL", other="MODEL", clip="CLIP")
    RETURN_TYPES = ("MODEL", "STRING")

    def run(self, one: Any, other: Any, clip: Any) -> Any:
        """See the class."""
        import comfy.model_patcher

        said = [
            one is other, one == other, one in [other], bool(copy.copy(one)), one.clone() is one,
            one.is_clone(one.clone()),
            isinstance(one, comfy.model_patcher.ModelPatcher), hasattr(one, "no_such_thing"),
            isinstance(clip, comfy.sd.CLIP), bool(one), one.model is other.model,
            isinstance(one.model, comfy.model_base.BaseModel), one.model_dtype(),
            one.model.latent_format.latent_channels, one.model.model_type, one.load_device.type,
        ]  # fmt: skip
        return {"one": [one]}["one"][0], repr(said)


class Trespass(Node):
    """What no pack may do. In ComfyUI's process most of it works."""

    INPUT_TYPES = inputs(model="MODEL", clip="CLIP", how="STRING", path="STRING")
    RETURN_TYPES = ("STRING",)

    def run(self, model: Any, clip: Any, how: str, path: str) -> Any:
        """The error that it ends with."""
        try:
            self.do(model, clip, how, path)
        except Exception as error:  # noqa: BLE001
            return (f"{type(error).__name__}: {error}",)
        return ("done",)

    def do(self, model: Any, clip: Any, how: str, path: str) -> None:
        """See the class."""
        ask = getattr(type(model), "_zimage_ask", None)
        if how == "attribute":
            model.__getattr__("__init__")
        elif how == "raw":
            ask(model, "__reduce__")
        elif how == "raw read":
            ask(model, ".__dict__")
        elif how == "object":
            model.get_model_object("diffusion_model.blocks")
        elif how == "shared":
            model.set_model_sampler_cfg_function(stronger)
        elif how == "shared options":
            model.model_options["transformer_options"] = {}
        elif how == "path":
            comfy.sd.load_diffusion_model(path)
        elif how == "function":
            model._zimage_client.ask(None, "os.system", [["true"], {}])
        elif how == "node":
            model._zimage_client.ask(None, "node", [["CheckpointSave", [model], {}], {}])
        elif how == "patch":
            model.clone().add_patches({("a", None, stronger): (torch.zeros(1),)})
        elif how == "pickle":
            pickle.dumps(model)
        elif how == "forged":
            ours = type(model._zimage_ref)(10**6, "MODEL")
            model._zimage_client.ask(ours, "clone", [[], {}])


class Cost(Node):
    """Milliseconds that a call of a function of this pack takes, called by the host.

    One of the two functions does the same without the border: ``model_options`` with 1 and with 41
    of them are sampled with.
    """

    INPUT_TYPES = inputs(model="MODEL", positive="CONDITIONING", latent="LATENT", steps="INT")
    RETURN_TYPES = ("STRING",)

    def run(self, model: Any, positive: Any, latent: Any, steps: int) -> Any:
        """See the class."""
        took = []
        for functions in (1, 1, 41):
            own = model.clone()
            for _ in range(functions):
                own.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
            began = time.perf_counter()
            common_ksampler(own, 7, steps, 1.0, "euler", "simple", positive, positive, latent)
            took.append(time.perf_counter() - began)
        return (repr(1000 * (took[2] - took[1]) / (40 * steps)),)


NODE_CLASS_MAPPINGS = {
    f"Objects{one.__name__}": one
    for one in (Encode, Codes, Patch, Layer, Sample, Load, Same, Trespass, Cost)
}
