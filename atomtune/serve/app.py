"""The HTTP interface: one image for a request, the list of concepts, health and metrics."""

import asyncio
import io
import json
from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .. import __version__
from ..data.concept import check_prompts, expand
from ..errors import AtomtuneError, UsageError
from ..models.base_model import ModelSource
from ..runtime.progress import Events
from ..runtime.units import counted
from ..sampling.changes import concepts_of, read_atoms, unused
from ..sampling.image_texts import image_texts
from ..sampling.options import MAX_SEED, Settings
from .access import is_known
from .concepts import concept_file, concept_files
from .engine import Engine, QueueFull, Wanted
from .metrics import Metrics
from .options import ServeOptions

_MOST_BYTES = 64_000  # of a request
_LONGEST_PROMPT = 4000  # characters


class ConceptChoice(BaseModel):
    """A concept of the server and its scale."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=200)
    scale: float = Field(1.0, ge=-10, le=10, allow_inf_nan=False)


class ImageRequest(BaseModel):
    """An image, with the words and the defaults of `atomtune sample`."""

    model_config = ConfigDict(extra="forbid")
    prompt: str = Field(max_length=_LONGEST_PROMPT, description="<NAME> stands for a concept.")
    concepts: list[ConceptChoice] = Field([], description="Their changes add up.")
    seed: int = Field(0, ge=0, lt=MAX_SEED)
    steps: int = Field(Settings().steps, ge=1)
    guidance_scale: float = Field(Settings().guidance_scale, ge=0, le=1000, allow_inf_nan=False)
    negative_prompt: str = Field("", max_length=_LONGEST_PROMPT)
    width: int | None = Field(None, ge=8, multiple_of=8, description="In pixels; the model's own without it.")
    height: int | None = Field(None, ge=8, multiple_of=8)


class ConceptList(BaseModel):
    """The names of the concepts that there are."""

    concepts: list[str]


class _Warnings(Events):
    """Keeps what a request's author should know."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def make_app(
    options: ServeOptions, engine: Engine, source: ModelSource, tokenizer: Any, tokens: list[bytes], metrics: Metrics
) -> FastAPI:
    """The application.

    Args:
        tokenizer: the pipeline's, to tell of prompts that are too long.
        tokens: digests of the access tokens, see `read_tokens`; none where everybody on this machine has access.
    """
    # the usual pages of documentation load programs from another site
    app = FastAPI(title="atomtune", version=__version__, docs_url=None, redoc_url=None)
    if not tokens:  # a page elsewhere that has its name resolved to this machine is not let in
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", options.host])
    bearer = HTTPBearer(auto_error=False)

    def allowed(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if tokens and (given is None or not is_known(given.credentials, tokens)):
            raise HTTPException(401, "an access token is needed", {"WWW-Authenticate": "Bearer"})

    @app.middleware("http")
    async def bounded(request: Request, answer: Callable[[Request], Any]) -> Response:
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not length.isdecimal():
            return JSONResponse({"detail": "the request does not say its length"}, 411)
        if length.isdecimal() and int(length) > _MOST_BYTES:
            return JSONResponse({"detail": f"a request has at most {_MOST_BYTES} bytes"}, 413)
        began = perf_counter()
        response: Response = await answer(request)
        if request.url.path == "/v1/images":
            metrics.answered(response.status_code, perf_counter() - began)
        return response

    @app.exception_handler(AtomtuneError)
    async def explained(_: Request, problem: AtomtuneError) -> JSONResponse:
        status = 422 if isinstance(problem, UsageError) else 500
        return JSONResponse({"detail": problem.message, "hint": problem.hint}, status)

    def wanted(request: ImageRequest, warnings: _Warnings) -> Wanted:
        if request.steps > options.max_steps:
            raise UsageError(f"steps must be at most {options.max_steps}, not {request.steps}")
        if len(request.concepts) > options.max_concepts:
            raise UsageError(
                f"an image has at most {counted(options.max_concepts, 'concept')}, not {len(request.concepts)}"
            )
        sides = [side for side in (request.width, request.height) if side is not None]
        if len(sides) == 1:
            raise UsageError("width and height go together")
        if max(sides, default=0) > options.max_side:
            raise UsageError(f"a side has at most {options.max_side} pixels, not {max(sides)}")
        settings = Settings(
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            negative_prompt=request.negative_prompt,
            size=(sides[0], sides[1]) if sides else None,
        )
        files = [(concept_file(options.runs, concept.name), concept.scale) for concept in request.concepts]
        atoms = read_atoms(files, warnings)
        concepts = concepts_of(atoms)
        prompt = expand(request.prompt, concepts)
        for text in check_prompts(tokenizer, [prompt], concepts, request.negative_prompt):
            warnings.warn(text)
        for concept in unused([prompt], atoms):
            warnings.warn(f"the prompt does not name {concept.words!r}: <{concept.name}> stands for it")
        return Wanted(prompt, request.seed, settings, tuple(atoms))

    @app.post(
        "/v1/images",
        dependencies=[Depends(allowed)],
        response_class=Response,
        responses={
            200: {"content": {"image/png": {}}, "description": "The PNG that `atomtune sample` writes."},
            401: {"description": "No access token."},
            422: {"description": "The request cannot be carried out."},
            429: {"description": "Too many requests wait; Retry-After says when to come again."},
            504: {"description": "The time for the request is over."},
        },
    )
    async def generate(request: ImageRequest) -> Response:
        """Generate an image. What is odd about the request is in the header X-Atomtune-Warnings, a JSON list."""
        warnings = _Warnings()
        try:
            async with asyncio.timeout(options.timeout):
                asked = await run_in_threadpool(wanted, request, warnings)
                image = await asyncio.wrap_future(engine.submit(asked))
        except QueueFull:
            raise HTTPException(
                429, f"as many requests as may wait already do ({options.queue})", {"Retry-After": "1"}
            ) from None
        except TimeoutError:
            raise HTTPException(504, f"no image within {options.timeout:g} seconds") from None
        except (asyncio.CancelledError, RuntimeError):
            if engine.is_alive:
                raise
            raise HTTPException(503, "the server is going down") from None
        stream = io.BytesIO()
        texts = image_texts(
            asked.prompt, asked.seed, image.size, asked.settings, options.scheduler, source, asked.atoms
        )
        image.save(stream, format="PNG", pnginfo=texts)
        told = {"X-Atomtune-Warnings": json.dumps(warnings.texts)} if warnings.texts else {}
        return Response(stream.getvalue(), media_type="image/png", headers=told)

    @app.get("/v1/concepts", dependencies=[Depends(allowed)])
    def concepts() -> ConceptList:
        """The concepts that there are."""
        return ConceptList(concepts=list(concept_files(options.runs)))

    @app.get("/health")
    def health() -> JSONResponse:
        """Whether the server generates images; needs no token."""
        return JSONResponse({"status": "ok" if engine.is_alive else "down"}, 200 if engine.is_alive else 503)

    @app.get("/metrics", dependencies=[Depends(allowed)], response_class=Response)
    def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type=metrics.media_type)

    return app
