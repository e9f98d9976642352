#!/usr/bin/env python3
"""Ask an OpenAI API with the official client: once plain, once streamed, then six at a time until standard input closes."""

import sys
import threading

import openai


def main() -> None:
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", timeout=120, max_retries=0)
    (model,) = [listed.id for listed in client.models.list()]
    question = [{"role": "user", "content": "What is the capital of France?"}]

    answer = client.chat.completions.create(model=model, messages=question, max_tokens=12)
    assert answer.choices[0].message.content, answer
    assert answer.usage.completion_tokens > 0, answer
    print("plain ok", flush=True)

    chunks = list(client.chat.completions.create(model=model, messages=question, max_tokens=12, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text and len(chunks) > 3, chunks
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length"), chunks
    print("stream ok", flush=True)

    stop = threading.Event()
    failures = []

    def ask(number: int) -> None:
        while not stop.is_set():
            try:
                message = {"role": "user", "content": f"Tell me something about the number {number}."}
                client.chat.completions.create(model=model, messages=[message], max_tokens=16)
            except openai.OpenAIError as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(f"failed {len(failures)}", *failures[:3], flush=True)


if __name__ == "__main__":
    main()
