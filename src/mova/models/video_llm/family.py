"""The family of video and image LLMs that answer Yes or No."""

from mova.models.family import ModelFamily

VIDEO_LLM = ModelFamily(
    name="video-llm",
    title="video LLM",
    model="mova.models.video_llm.model:VideoLLM",
    build="mova.models.video_llm.build:VideoLLMBuild",
    recognizes="mova.models.video_llm.model:is_video_llm",
    load_foreign="mova.models.video_llm.reranker:load_answering",
)
