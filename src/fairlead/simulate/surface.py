"""The HTTP surface of a simulated engine: routes, the key check, errors and the fault control.

An `Application` for `net.server`. Which paths exist depends on the dialect;
/health, /metrics and /simulate/fault are there in each. The control of faults
answers to this machine only.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs, unquote

import msgspec

from fairlead.errors import (
    Conflict,
    FairleadError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
)
from fairlead.net.call import Call, Intake
from fairlead.net.head import Head
from fairlead.simulate import anthropic_api, bedrock_api, extras_api, gemini_api, openai_api, responses_api
from fairlead.simulate.chat_body import ChatBody, CompletionBody
from fairlead.simulate.faults import from_fields, parse
from fairlead.simulate.files_api import BatchBody, FileStore
from fairlead.simulate.multipart import FormPart
from fairlead.simulate.multipart import parse as parse_form
from fairlead.simulate.outlet import AnswerOver, Outlet
from fairlead.simulate.service import Service, decode
from fairlead.simulate.shapes import Shape, error_headers, error_of

Route = Callable[[Call], Awaitable[None]]
T = TypeVar("T")

JSON_HEADERS = b"content-type: application/json\r\n"
METRICS_HEADERS = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
MAX_JSON_BYTES = 33_554_432
MAX_UPLOAD_BYTES = 67_108_864
_UPLOADS = ("/v1/files", "/v1/audio/transcriptions")
_OPEN = ("/health", "/metrics", "/simulate/")

_CHAT = msgspec.json.Decoder(ChatBody)
_COMPLETION = msgspec.json.Decoder(CompletionBody)
_RESPONSE = msgspec.json.Decoder(responses_api.ResponseBody)
_EMBEDDING = msgspec.json.Decoder(extras_api.EmbeddingBody)
_RERANK = msgspec.json.Decoder(extras_api.RerankBody)
_IMAGE = msgspec.json.Decoder(extras_api.ImageBody)
_TOKENIZE = msgspec.json.Decoder(extras_api.TokenizeBody)
_BATCH = msgspec.json.Decoder(BatchBody)
_MESSAGES = msgspec.json.Decoder(anthropic_api.MessagesBody)
_COUNT = msgspec.json.Decoder(anthropic_api.CountBody)
_GENERATE = msgspec.json.Decoder(gemini_api.GenerateBody)
_GEMINI_COUNT = msgspec.json.Decoder(gemini_api.CountTokensBody)
_GEMINI_EMBED = msgspec.json.Decoder(gemini_api.EmbedBody)
_GEMINI_BATCH = msgspec.json.Decoder(gemini_api.BatchEmbedBody)
_TITAN = msgspec.json.Decoder(bedrock_api.TitanBody)
_CONVERSE = msgspec.json.Decoder(bedrock_api.ConverseBody)


class FaultPost(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /simulate/fault in its short form."""

    fault: str


class Surface:
    """One engine's endpoints."""

    def __init__(self, service: Service, files: FileStore, *, has_control_port: bool) -> None:
        """`has_control_port`: faults can still be removed when the main port refuses connections."""
        self._service = service
        self._files = files
        self._has_control_port = has_control_port
        dialect = service.config.dialect
        self._shape: Shape = "vllm" if dialect == "openai" else dialect
        self._routes: dict[str, dict[str, Route]] = {
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics},
            "/simulate/times": {"GET": self._list_times},
            "/simulate/fault": {
                "GET": self._list_faults,
                "POST": self._set_fault,
                "DELETE": self._clear_faults,
            },
        }
        self._prefixes: dict[str, dict[str, Route]] = {"/simulate/fault/": {"DELETE": self._clear_fault}}
        {
            "openai": self._add_openai,
            "anthropic": self._add_anthropic,
            "gemini": self._add_gemini,
            "bedrock": self._add_bedrock,
        }[dialect]()

    def _add_openai(self) -> None:
        self._routes |= {
            "/v1/models": {"GET": self._models},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._completions},
            "/v1/embeddings": {"POST": self._embeddings},
            "/v1/rerank": {"POST": self._rerank},
            "/v1/audio/transcriptions": {"POST": self._transcription},
            "/v1/images/generations": {"POST": self._images},
            "/v1/files": {"GET": self._list_files, "POST": self._upload},
            "/v1/batches": {"GET": self._list_batches, "POST": self._create_batch},
            "/tokenize": {"POST": self._tokenize},
        }
        if self._service.config.responses:
            self._routes["/v1/responses"] = {"POST": self._responses}
        self._prefixes |= {
            "/v1/models/": {"GET": self._model},
            "/v1/files/": {"GET": self._file, "DELETE": self._delete_file},
            "/v1/batches/": {"GET": self._batch, "POST": self._cancel_batch},
        }

    def _add_anthropic(self) -> None:
        self._routes |= {
            "/v1/models": {"GET": self._anthropic_models},
            "/v1/messages": {"POST": self._messages},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
        }

    def _add_gemini(self) -> None:
        self._routes["/v1beta/models"] = {"GET": self._gemini_models}
        self._prefixes["/v1beta/models/"] = {"POST": self._gemini}

    def _add_bedrock(self) -> None:
        self._prefixes["/model/"] = {"POST": self._bedrock}

    # --- Application --------------------------------------------------------------------------

    def intake(self, head: Head) -> Intake:
        self._route(head)
        self._authenticate(head)
        return Intake(MAX_UPLOAD_BYTES if head.path in _UPLOADS else MAX_JSON_BYTES)

    async def handle(self, call: Call) -> None:
        try:
            await self._route(call.head)(call)
        except AnswerOver:
            return
        except FairleadError as error:
            if call.started:
                call.abort()
            else:
                call.reply(*self.refuse(error, call.head))

    def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        headers = error_headers(self._shape, error.status) + JSON_HEADERS
        return error.status, headers, error_of(self._shape, error)

    def _route(self, head: Head) -> Route:
        methods = self._routes.get(head.path)
        if methods is None:
            found = (known for start, known in self._prefixes.items() if head.path.startswith(start))
            methods = next(found, None)
        if methods is None:
            raise NotFound(f"Not Found: {head.path}")
        route = methods.get("GET" if head.method == "HEAD" else head.method)
        if route is None:
            raise MethodNotAllowed
        return route

    def _authenticate(self, head: Head) -> None:
        expected = self._service.config.api_key
        if expected is None or head.path.startswith(_OPEN):
            return
        bearer = head.headers.get(b"authorization", b"").split(b" ", 1)
        given = [
            head.headers.get(b"x-api-key", b""),
            head.headers.get(b"api-key", b""),
            head.headers.get(b"x-goog-api-key", b""),
            bearer[1].strip() if len(bearer) == 2 and bearer[0].lower() == b"bearer" else b"",
            *(key.encode() for key in parse_qs(head.query).get("key", ())),
        ]
        matches = [hmac.compare_digest(key, expected.encode()) for key in given]
        if not any(matches):
            raise Unauthenticated("Incorrect API key provided.")

    # --- what every API does --------------------------------------------------------------------

    async def _outlet(self, call: Call, model: str, *, stream: bool = False) -> Outlet:
        """Where the answer goes, after what a fault does before any work."""
        times = self._service.times.begin(call.head.headers.get(b"x-request-id", b"").decode("latin-1"))
        asked = call.head.headers.get(b"x-simulate-fault")
        fault = self._service.fault_for(model) if asked is None else parse(asked.decode("latin-1"))
        outlet = Outlet(call, fault, self._shape, times)
        await outlet.strike_early(stream=stream)
        return outlet

    def _tail(self, call: Call, prefix: str) -> str:
        return unquote(call.head.path.removeprefix(prefix))

    async def _answer(self, call: Call, value: object) -> None:
        outlet = await self._outlet(call, "")
        await outlet.whole(msgspec.json.encode(value), JSON_HEADERS)

    async def _health(self, call: Call) -> None:
        call.reply(200, b"", b"")

    async def _metrics(self, call: Call) -> None:
        call.reply(200, METRICS_HEADERS, self._service.metrics.render())

    # --- OpenAI ---------------------------------------------------------------------------------

    async def _models(self, call: Call) -> None:
        created = self._service.unix_time()
        cards = [extras_api.model_card(self._service, name, created) for name in self._service.config.models]
        await self._answer(call, {"object": "list", "data": cards})

    async def _model(self, call: Call) -> None:
        model = self._service.model(self._tail(call, "/v1/models/"))
        await self._answer(call, extras_api.model_card(self._service, model, self._service.unix_time()))

    async def _chat(self, call: Call) -> None:
        body = decode(call.body, _CHAT.decode)
        model = self._service.model(body.model)
        outlet = await self._outlet(call, model, stream=bool(body.stream))
        await openai_api.chat(self._service, body, outlet, model)

    async def _completions(self, call: Call) -> None:
        body = decode(call.body, _COMPLETION.decode)
        model = self._service.model(body.model)
        outlet = await self._outlet(call, model, stream=bool(body.stream))
        await openai_api.completions(self._service, body, outlet, model)

    async def _responses(self, call: Call) -> None:
        body = decode(call.body, _RESPONSE.decode)
        model = self._service.model(body.model)
        outlet = await self._outlet(call, model, stream=bool(body.stream))
        await responses_api.responses(self._service, body, outlet, model)

    async def _embeddings(self, call: Call) -> None:
        body = decode(call.body, _EMBEDDING.decode)
        model = self._service.model(body.model)
        await extras_api.embeddings(self._service, body, await self._outlet(call, model), model)

    async def _rerank(self, call: Call) -> None:
        body = decode(call.body, _RERANK.decode)
        model = self._service.model(body.model)
        await extras_api.rerank(self._service, body, await self._outlet(call, model), model)

    async def _images(self, call: Call) -> None:
        body = decode(call.body, _IMAGE.decode)
        model = self._service.config.models[0] if body.model is None else self._service.model(body.model)
        await extras_api.images(self._service, body, await self._outlet(call, model))

    async def _tokenize(self, call: Call) -> None:
        body = decode(call.body, _TOKENIZE.decode)
        model = self._service.config.models[0] if body.model is None else self._service.model(body.model)
        await extras_api.tokenize_text(self._service, body, await self._outlet(call, model))

    def _form(self, call: Call) -> dict[str, FormPart]:
        return parse_form(call.head.headers.get(b"content-type", b""), call.body)

    async def _transcription(self, call: Call) -> None:
        form = self._form(call)
        model = self._service.model(form["model"].text if "model" in form else "")
        await extras_api.transcription(form, await self._outlet(call, model))

    # --- files and batches ----------------------------------------------------------------------

    async def _upload(self, call: Call) -> None:
        await self._answer(call, self._files.upload(self._form(call)))

    async def _list_files(self, call: Call) -> None:
        await self._answer(call, self._files.files())

    async def _file(self, call: Call) -> None:
        file_id, _, part = self._tail(call, "/v1/files/").partition("/")
        stored = self._files.file(file_id)
        if part == "content":
            outlet = await self._outlet(call, "")
            await outlet.whole(stored.data, b"content-type: application/octet-stream\r\n")
        elif part:
            raise NotFound(f"Not Found: {call.head.path}")
        else:
            await self._answer(call, stored.card())

    async def _delete_file(self, call: Call) -> None:
        await self._answer(call, self._files.delete(self._tail(call, "/v1/files/")))

    async def _create_batch(self, call: Call) -> None:
        await self._answer(call, self._files.create_batch(decode(call.body, _BATCH.decode)))

    async def _list_batches(self, call: Call) -> None:
        await self._answer(call, self._files.batches())

    async def _batch(self, call: Call) -> None:
        await self._answer(call, self._files.batch(self._tail(call, "/v1/batches/")))

    async def _cancel_batch(self, call: Call) -> None:
        batch_id, _, verb = self._tail(call, "/v1/batches/").partition("/")
        if verb != "cancel":
            raise NotFound(f"Not Found: {call.head.path}")
        await self._answer(call, self._files.cancel(batch_id))

    # --- Anthropic ------------------------------------------------------------------------------

    async def _anthropic_models(self, call: Call) -> None:
        names = self._service.config.models
        cards = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
            for name in names
        ]
        await self._answer(
            call, {"data": cards, "has_more": False, "first_id": names[0], "last_id": names[-1]}
        )

    async def _messages(self, call: Call) -> None:
        body = decode(call.body, _MESSAGES.decode)
        model = self._service.model(body.model)
        outlet = await self._outlet(call, model, stream=bool(body.stream))
        await anthropic_api.messages(self._service, body, outlet, model)

    async def _count_tokens(self, call: Call) -> None:
        body = decode(call.body, _COUNT.decode)
        model = self._service.model(body.model)
        await anthropic_api.count_tokens(body, await self._outlet(call, model))

    # --- Gemini and Bedrock ---------------------------------------------------------------------

    async def _gemini_models(self, call: Call) -> None:
        models = [
            {
                "name": f"models/{name}",
                "displayName": name,
                "inputTokenLimit": self._service.engine.context_tokens,
            }
            for name in self._service.config.models
        ]
        await self._answer(call, {"models": models})

    async def _gemini(self, call: Call) -> None:
        name, _, verb = self._tail(call, "/v1beta/models/").rpartition(":")
        model = self._service.model(name)
        if verb in ("generateContent", "streamGenerateContent"):
            stream = verb == "streamGenerateContent"
            if stream and parse_qs(call.head.query).get("alt") != ["sse"]:
                raise InvalidRequest("Only `alt=sse` streams are simulated.", param="alt")
            body = decode(call.body, _GENERATE.decode)
            outlet = await self._outlet(call, model, stream=stream)
            await gemini_api.generate(self._service, body, outlet, model, stream=stream)
        elif verb == "countTokens":
            counted = decode(call.body, _GEMINI_COUNT.decode)
            await gemini_api.count_tokens(counted, await self._outlet(call, model))
        elif verb == "embedContent":
            embedded = decode(call.body, _GEMINI_EMBED.decode)
            await gemini_api.embed_content(self._service, embedded, await self._outlet(call, model))
        elif verb == "batchEmbedContents":
            batch = decode(call.body, _GEMINI_BATCH.decode)
            await gemini_api.batch_embed_contents(self._service, batch, await self._outlet(call, model))
        else:
            raise NotFound(f"Not Found: {call.head.path}")

    async def _bedrock(self, call: Call) -> None:
        name, _, verb = self._tail(call, "/model/").rpartition("/")
        model = self._service.model(name)
        if verb == "invoke" and "titan-embed" in name:
            embedded = decode(call.body, _TITAN.decode)
            await bedrock_api.titan_embedding(self._service, embedded, await self._outlet(call, model))
            return
        if verb not in ("converse", "converse-stream"):
            raise NotFound(f"Not Found: {call.head.path}")
        stream = verb == "converse-stream"
        body = decode(call.body, _CONVERSE.decode)
        outlet = await self._outlet(call, model, stream=stream)
        await bedrock_api.converse(self._service, body, outlet, model, stream=stream)

    # --- faults ---------------------------------------------------------------------------------

    def _control(self, call: Call, value: object) -> None:
        call.reply(200, JSON_HEADERS, msgspec.json.encode(value))

    def _local_only(self, call: Call) -> None:
        try:
            local = ipaddress.ip_address(call.head.peer).is_loopback
        except ValueError:
            local = False
        if not local:
            raise Forbidden("Faults are set from this machine only.")

    async def _list_faults(self, call: Call) -> None:
        self._local_only(call)
        self._control(call, {"data": self._service.faults.listed(self._service.loop.time())})

    async def _list_times(self, call: Call) -> None:
        self._local_only(call)
        self._control(call, {"data": self._service.times.listed()})

    async def _set_fault(self, call: Call) -> None:
        self._local_only(call)
        fields = decode(call.body, msgspec.json.decode)
        short = isinstance(fields, dict) and set(fields) == {"fault"}
        fault = parse(str(fields["fault"])) if short else from_fields(fields)
        for_ever = fault.name == "refuse" and fault.model is None and fault.count is None and fault.on is None
        if for_ever and fault.probability == 1.0 and not self._has_control_port:
            raise Conflict(
                "This fault would close the only port it could be removed through; start the engine with a "
                "control port, or let the fault come and go with `on` and `off`."
            )
        fault_id = self._service.faults.install(fault, self._service.loop.time())
        self._control(call, {"id": fault_id, "fault": fault})

    async def _clear_faults(self, call: Call) -> None:
        self._local_only(call)
        self._control(call, {"removed": self._service.faults.remove()})

    async def _clear_fault(self, call: Call) -> None:
        self._local_only(call)
        text = self._tail(call, "/simulate/fault/")
        if not (text.isascii() and text.isdigit()) or not self._service.faults.remove(int(text)):
            raise NotFound(f"No fault {text}.")
        self._control(call, {"removed": 1})
