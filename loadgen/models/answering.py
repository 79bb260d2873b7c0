"""What a model answers: score, decision, latency, tokens and cost, each following from what it was asked."""

from collections.abc import Mapping

import numpy as np

from loadgen.columns import Column, Floats, Response, Texts
from loadgen.distributions import Choice, Numbers, is_text
from loadgen.models.sampling import Asked, compiled, looked_up
from loadgen.models.spec import Generation, Latency, Model, Term
from loadgen.randomness import Draws


class Answering:
    """The answers of a model.

    Raises
    ------
    ValueError
        If the model is not complete, or names a feature or a segment that it does not have; the message says which.
    """

    def __init__(self, model: Model, known: Mapping[str, Numbers | Choice]) -> None:
        self._model, self._known = model, known
        if (model.latency is None) == (model.generation is None):
            raise ValueError("a model has either latency or generation, one of the two")
        if model.labels is not None and (model.score is None or model.score.kind != "logistic"):
            raise ValueError("labels follow from a logistic score: give the model one, or take its labels away")
        if model.decisions is not None and model.score is None:
            raise ValueError("decisions follow from a score: give the model one")
        self._output: Numbers | None = None
        if model.generation is not None:
            output = compiled("generation.output_tokens", model.generation.output_tokens)
            self._output = output if isinstance(output, Numbers) else None
        self._check()

    def logit(self, asked: Asked) -> Floats:
        """The sum of the score model's terms, float64[n]: the logit of the truth where the score is logistic."""
        logit = np.zeros(len(asked))
        if self._model.score is None:
            return logit
        logit += self._model.score.intercept
        for term in self._model.score.terms:
            logit += self._value(term, asked)
        return logit

    def score(self, asked: Asked, draws: Draws) -> Floats | None:
        """The scores, float64[n]; None for a model without."""
        spec = self._model.score
        if spec is None:
            return None
        score = self.logit(asked)
        if spec.noise_sigma:
            score = score + spec.noise_sigma * draws.normal("score")
        return sigmoid(score) if spec.kind == "logistic" else score

    def answer(self, asked: Asked, draws: Draws, slowness: Floats, score: Floats | None) -> Response:
        """The answers; latencies are multiplied by ``slowness``, float64[n]."""
        spec = self._model.errors
        status = np.where(draws.happens("errors", spec.ratio), spec.status, "ok")
        if self._model.generation is not None and self._output is not None:
            return self._generated(self._model.generation, self._output, asked, draws, slowness, status)
        latency = _latency(self._model.latency or Latency(median_ms=1.0, sigma=0.1), draws) * slowness
        return Response(latency_ms=latency, score=score, status=status, decision=self._decision(score))

    def _decision(self, score: Floats | None) -> Texts | None:
        spec = self._model.decisions
        if spec is None or score is None:
            return None
        over = sorted(spec.over.items(), key=lambda item: -item[1])
        return np.select([score > limit for _, limit in over], [name for name, _ in over], spec.otherwise)

    def _generated(
        self, spec: Generation, of: Numbers, asked: Asked, draws: Draws, slowness: Floats, status: Texts
    ) -> Response:
        read = self._filled(spec.input_feature, asked.features[spec.input_feature])
        written = of.raw(draws.normal("output")) * np.maximum(read, 1.0) ** spec.output_exponent
        written = np.maximum(of.shaped(np.floor(written)), 1.0)
        first, each, latency = answer_times(spec, read, written, draws.normal("load"), draws.normal("token"))
        return Response(
            latency_ms=latency * slowness,
            score=None,
            status=status,
            cost_usd=read * spec.usd_per_input_token + written * spec.usd_per_output_token,
            gen_ai={
                "input_tokens": read,
                "output_tokens": written,
                "time_to_first_token_ms": first * slowness,
                "time_per_output_token_ms": each * slowness,
            },
        )

    def _value(self, term: Term, asked: Asked) -> Floats:
        if term.segment:
            return looked_up(term.weights, asked.segment[term.segment])
        column = asked.features[term.feature]
        if is_text(column):
            return looked_up(term.weights, column.astype(np.str_))
        values = self._filled(term.feature, column)
        match term.transform:
            case "log1p":
                values = np.log1p(np.maximum(values, 0.0))
            case "below":
                values = (values < term.at).astype(np.float64)
            case "over":
                values = (values > term.at).astype(np.float64)
            case "linear":
                pass
        return term.weight * values

    def _filled(self, name: str, column: Column) -> Floats:
        """A numeric feature with the mean of its distribution for nulls, as a serving model would fill them."""
        of, values = self._known[name], column.astype(np.float64)
        return np.where(np.isnan(values), of.mean if isinstance(of, Numbers) else 0.0, values)

    def _check(self) -> None:
        generation = self._model.generation
        wanted = [] if generation is None else [("generation.input_feature", generation.input_feature)]
        wanted += [
            ("score.terms", term.feature)
            for term in (self._model.score.terms if self._model.score else ())
            if not term.segment
        ]
        for place, feature in wanted:
            if feature not in self._known:
                raise ValueError(f"{place}: no feature {feature!r}; there are {', '.join(self._known)}")
        for term in self._model.score.terms if self._model.score else ():
            if term.segment and term.segment not in self._model.segments:
                raise ValueError(
                    f"score.terms: no segment {term.segment!r}; there are {', '.join(self._model.segments)}"
                )


def answer_times(
    spec: Generation, read: Floats, written: Floats, load: Floats, token: Floats
) -> tuple[Floats, Floats, Floats]:
    """Time to first token, time per output token and whole latency, float64[n] ms each, from tokens read and written.

    A plain model of a batching server: prefill grows with what is read, decoding with what is written; the speed of
    both varies with what else is in the batch. ``load`` and ``token`` are standard normal, float64[n].
    """
    busy = np.exp(spec.load_sigma * load)
    first = (spec.first_token_base_ms + spec.first_token_per_input_ms * read) * busy
    each = spec.per_output_token_ms * np.exp(spec.token_sigma * token) * busy
    return first, each, first + each * np.maximum(written - 1, 0)


def sigmoid(logit: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), np.float64)


def _latency(spec: Latency, draws: Draws) -> Floats:
    latency = spec.median_ms * np.exp(spec.sigma * draws.normal("latency"))
    if spec.tail_ratio:
        latency = np.where(draws.happens("tail", spec.tail_ratio), latency * spec.tail_factor, latency)
    return latency
