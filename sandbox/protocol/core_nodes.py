"""Closed lists of ComfyUI's nodes that the host runs for packs in sandboxes.

Not listed are nodes that write files (such as ``CheckpointSave``), train, compile, read pickles
(``HypernetworkLoader``) or folders (``DiffusersLoader``), and nodes that do not use objects of the
host: those run in the sandbox itself.
"""

from __future__ import annotations

USERS = frozenset(
    """
    APG AddNoise BasicGuider BasicScheduler BetaSamplingScheduler CFGGuider CFGNorm CFGZeroStar
    CLIPAttentionMultiply CLIPMergeAdd CLIPMergeSimple CLIPMergeSubtract CLIPSetLastLayer
    CLIPTextEncode CLIPTextEncodeControlnet CLIPTextEncodeFlux CLIPTextEncodeHiDream
    CLIPTextEncodeHunyuanDiT CLIPTextEncodeLumina2 CLIPTextEncodePixArtAlpha CLIPTextEncodeSD3
    CLIPTextEncodeSDXL CLIPTextEncodeSDXLRefiner CLIPVisionEncode ChromaRadianceOptions
    CombineHooks2 CombineHooks4 CombineHooks8 ConditioningSetDefaultCombine
    ConditioningSetProperties ConditioningSetPropertiesAndCombine ContextWindowsManual
    ControlNetApply ControlNetApplyAdvanced ControlNetApplySD3 ControlNetInpaintingAliMamaApply
    CosmosImageToVideoLatent CosmosPredict2ImageToVideoLatent DifferentialDiffusion
    DualCFGGuider EasyCache FreSca FreeU FreeU_V2 GLIGENTextBoxApply Hunyuan3Dv2Conditioning
    Hunyuan3Dv2ConditioningMultiView HunyuanImageToVideo HunyuanVideo15ImageToVideo
    HunyuanVideo15SuperResolution HyperTile ImageUpscaleWithModel InpaintModelConditioning
    InstructPixToPixConditioning KSampler KSamplerAdvanced LTXVAddGuide LTXVImgToVideo
    LatentApplyOperation LatentApplyOperationCFG LazyCache Mahiro ModelComputeDtype
    ModelMergeAdd ModelMergeAuraflow ModelMergeBlocks ModelMergeCosmos14B ModelMergeCosmos7B
    ModelMergeCosmosPredict2_14B ModelMergeCosmosPredict2_2B ModelMergeFlux1 ModelMergeLTXV
    ModelMergeMochiPreview ModelMergeQwenImage ModelMergeSD1 ModelMergeSD2 ModelMergeSD35_Large
    ModelMergeSD3_2B ModelMergeSDXL ModelMergeSimple ModelMergeSubtract ModelMergeWAN2_1
    ModelSamplingAuraFlow ModelSamplingContinuousEDM ModelSamplingContinuousV
    ModelSamplingDiscrete ModelSamplingFlux ModelSamplingLTXV ModelSamplingSD3
    ModelSamplingStableCascade PairConditioningSetDefaultCombine PairConditioningSetProperties
    PairConditioningSetPropertiesAndCombine PatchModelAddDownscale PerpNeg PerpNegGuider
    PerturbedAttentionGuidance PhotoMakerEncode QwenImageDiffsynthControlnet RenormCFG
    RescaleCFG SDTurboScheduler SV3D_Conditioning SVD_img2vid_Conditioning SamplerCustom
    SamplerCustomAdvanced SamplerSASolver SamplingPercentToSigma ScaleROPE SelfAttentionGuidance
    SetClipHooks SetHookKeyframes SetUnionControlNetType SkipLayerGuidanceDiT
    SkipLayerGuidanceDiTSimple SkipLayerGuidanceSD3 StableCascade_StageC_VAEEncode
    StableCascade_SuperResolutionControlnet StableZero123_Conditioning
    StableZero123_Conditioning_Batched StyleModelApply T5TokenizerOptions TCFG
    TemporalScoreRescaling TextEncodeAceStepAudio TextEncodeHunyuanVideo_ImageToVideo
    TextEncodeQwenImageEdit TextEncodeQwenImageEditPlus TomePatchModel
    UNetCrossAttentionMultiply UNetSelfAttentionMultiply UNetTemporalAttentionMultiply
    USOStyleReference VAEDecode VAEDecodeAudio VAEDecodeHunyuan3D VAEDecodeTiled VAEEncode
    VAEEncodeAudio VAEEncodeForInpaint VAEEncodeTiled VideoLinearCFGGuidance
    VideoTriangleCFGGuidance Wan22FunControlToVideo Wan22ImageToVideoLatent WanAnimateToVideo
    WanCameraImageToVideo WanContextWindowsManual WanFirstLastFrameToVideo WanFunControlToVideo
    WanFunInpaintToVideo WanHuMoImageToVideo WanImageToVideo WanPhantomSubjectToVideo
    WanSoundImageToVideo WanSoundImageToVideoExtend WanTrackToVideo WanVaceToVideo
    unCLIPConditioning
    """.split()  # noqa: SIM905
) | {"Epsilon Scaling"}
"""Nodes that run in the host if an input is an object of the host."""

MAKERS = frozenset(
    """
    DisableNoise KSamplerSelect LatentOperationSharpen LatentOperationTonemapReinhard
    RandomNoise SamplerDPMAdaptative SamplerDPMPP_2M_SDE SamplerDPMPP_2S_Ancestral
    SamplerDPMPP_3M_SDE SamplerDPMPP_SDE SamplerER_SDE SamplerEulerAncestral
    SamplerEulerAncestralCFGPP SamplerEulerCFGpp SamplerLCMUpscale SamplerLMS
    """.split()  # noqa: SIM905
)
"""Nodes that always run in the host: they make samplers and similar objects from numbers."""

LOADERS: dict[str, dict[str, tuple[str, ...]]] = {
    "CheckpointLoaderSimple": {"ckpt_name": ("checkpoints",)},
    "unCLIPCheckpointLoader": {"ckpt_name": ("checkpoints",)},
    "ImageOnlyCheckpointLoader": {"ckpt_name": ("checkpoints",)},
    "VAELoader": {"vae_name": ("vae", "vae_approx")},
    "UNETLoader": {"unet_name": ("diffusion_models",)},
    "CLIPLoader": {"clip_name": ("text_encoders",)},
    "DualCLIPLoader": {f"clip_name{i}": ("text_encoders",) for i in (1, 2)},
    "TripleCLIPLoader": {f"clip_name{i}": ("text_encoders",) for i in (1, 2, 3)},
    "QuadrupleCLIPLoader": {f"clip_name{i}": ("text_encoders",) for i in (1, 2, 3, 4)},
    "ControlNetLoader": {"control_net_name": ("controlnet",)},
    "DiffControlNetLoader": {"control_net_name": ("controlnet",)},
    "StyleModelLoader": {"style_model_name": ("style_models",)},
    "CLIPVisionLoader": {"clip_name": ("clip_vision",)},
    "GLIGENLoader": {"gligen_name": ("gligen",)},
    "UpscaleModelLoader": {"model_name": ("upscale_models",)},
    "ModelPatchLoader": {"name": ("model_patches",)},
    "LoraLoader": {"lora_name": ("loras",)},
    "LoraLoaderModelOnly": {"lora_name": ("loras",)},
    "CreateHookLora": {"lora_name": ("loras",)},
    "CreateHookLoraModelOnly": {"lora_name": ("loras",)},
    "CreateHookModelAsLora": {"ckpt_name": ("checkpoints",)},
    "CreateHookModelAsLoraModelOnly": {"ckpt_name": ("checkpoints",)},
}
"""Loaders, their inputs that name a file, and the kinds of folder that may contain it."""

ALL = USERS | MAKERS | LOADERS.keys()
