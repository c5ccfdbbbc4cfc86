"""A model behind an OpenAI-compatible address, by transformers' own server, decoding by a method.

The server, its endpoints, streams and messages are transformers'; it gets a view of the model (`magnified`) and the
method's processor. Needs `transformers[serving]`.
"""

from __future__ import annotations

from typing import Any

from pmtools.decoding import DecodingMethod, magnified

#: Endpoints that do not call `generate`, so that their answers would not be the method's.
_WITHOUT_METHOD = ("/v1/systemone", "/v1/audio/transcriptions")


def serving_app(
    model: Any, processor: Any, /, *, name: str, method: str | DecodingMethod = "pm", **options: Any
) -> Any:
    """transformers' serving application for one loaded model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    processor : transformers processor
        The model's own, with a chat template.
    name : str
        The model's name for clients.
    method : str or DecodingMethod, optional
        A name in `pmtools.decoding.METHODS`, or a method.
    **options
        Of the method, where it is given by its name.

    Returns
    -------
    FastAPI application
        With `/v1/chat/completions`, plain and streamed, `/v1/responses`, `/v1/models` and `/health`.

    Raises
    ------
    ImportError
        If transformers has no serving application, or packages that it needs are missing.
    """
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        raise ImportError("serving needs fastapi, uvicorn and openai: pip install 'pmtools[serve]'")
    try:
        from transformers.cli.serving import server
        from transformers.cli.serving.chat_completion import ChatCompletionHandler
        from transformers.cli.serving.completion import CompletionHandler
        from transformers.cli.serving.model_manager import ModelManager
        from transformers.cli.serving.response import ResponseHandler
        from transformers.cli.serving.transcription import TranscriptionHandler
        from transformers.cli.serving.utils import GenerationState
    except ImportError as error:
        import transformers

        raise ImportError(
            f"transformers {transformers.__version__} has no serving application that pmtools knows ({error}); "
            "install the version in the list of tested ones"
        ) from error

    view = magnified(model, processor, method=method, **options)

    class OneModel(ModelManager):  # type: ignore[misc]
        """Serves only the view, under its name."""

        def load_model_and_processor(self, *_: Any, **__: Any) -> tuple[Any, Any]:
            return view, view.processor

        @staticmethod
        def process_model_name(model_id: str) -> str:
            return model_id

        @staticmethod
        def get_gen_models(*_: Any, **__: Any) -> list[dict[str, Any]]:
            # for the list of transformers before about 5.24: otherwise it lists the cache of the hub, or fails without
            # one
            return [{"id": name, "object": "model", "created": 0, "owned_by": ""}]

    manager, state = OneModel(force_model=name), GenerationState()
    handlers = {
        "completion_handler": CompletionHandler,
        "response_handler": ResponseHandler,
        "transcription_handler": TranscriptionHandler,
        **_decision_handler(),
    }
    made = {argument: kind(manager, state) for argument, kind in handlers.items()}
    app = server.build_server(manager, ChatCompletionHandler(manager, state), generation_state=state, **made)
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) not in _WITHOUT_METHOD]
    return app


def _decision_handler() -> dict[str, Any]:
    """For typed decisions, which some releases of transformers have."""
    try:
        from transformers.cli.serving.systemone import SystemOneHandler
    except ImportError:
        return {}
    return {"systemone_handler": SystemOneHandler}
