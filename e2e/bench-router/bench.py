#!/usr/bin/env python3
"""Runs the router and others side by side on loopback (see README.md). Standard library only.

  bench.py perf   [--peers a,b] [--reps 2] [--secs 6]
  bench.py behave [--peers a,b]
  bench.py report
Results: out/perf.jsonl, out/behave.jsonl.
"""
import argparse, json, os, re, shutil, signal, socket, subprocess, sys, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "out")
BIN = os.path.join(os.environ.get("BENCH_TARGET_DIR", os.path.join(HERE, "target")), "release")
# where the peers' virtual environments live; install.sh makes them
PEERS = os.environ.get("PEERS", os.path.join(HERE, "peers"))
BACK = [9001, 9002, 9003, 9004]
CORE_PROXY = os.environ.get("CORE_PROXY", "1")
CORE_LOAD = os.environ.get("CORE_LOAD", "0")
NICE = os.environ.get("NICE", "-10")
PORT = 21080
HZ = os.sysconf("SC_CLK_TCK")

URLS = [f"http://127.0.0.1:{p}" for p in BACK]


def write(name, text):
    p = os.path.join(OUT, name)
    with open(p, "w") as f:
        f.write(text)
    return p


def venv(name, prog):
    return os.path.join(PEERS, name, "bin", prog)


# ---- peers -------------------------------------------------------------------
def nginx():
    up = "".join(f"    server 127.0.0.1:{p};\n" for p in BACK)
    conf = write("nginx.conf", f"""daemon off; worker_processes 1; pid {OUT}/nginx.pid; error_log {OUT}/nginx.err warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {OUT}/nb; proxy_temp_path {OUT}/np; fastcgi_temp_path {OUT}/nf; uwsgi_temp_path {OUT}/nu; scgi_temp_path {OUT}/ns;
  client_max_body_size 64m; client_body_buffer_size 256k; keepalive_requests 100000000;
  upstream u {{
{up}    keepalive 4096; keepalive_requests 100000000;
  }}
  server {{ listen 127.0.0.1:{PORT} backlog=4096;
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; }} }}
}}
""")
    return ["nginx", "-c", conf], {}


def haproxy():
    sv = "".join(f"  server s{p} 127.0.0.1:{p} check inter 2s\n" for p in BACK)
    conf = write("haproxy.cfg", f"""global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  retries 3
  option redispatch
  option http-no-delay
  option abortonclose
  retry-on conn-failure empty-response 503
frontend f
  bind 127.0.0.1:{PORT}
  default_backend b
backend b
  balance leastconn
  option httpchk GET /health
{sv}""")
    return ["haproxy", "-f", conf, "-db"], {}


def envoy():
    eps = ",".join(json.dumps({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}}}) for p in BACK)
    conf = write("envoy.json", """{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":21901}}},"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":%d}},"filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"i","codec_type":"AUTO","route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s","retry_policy":{"retry_on":"connect-failure,refused-stream,reset-before-request,503","num_retries":2}}}]}]},"http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}],"clusters":[{"name":"c","type":"STATIC","connect_timeout":"5s","lb_policy":"LEAST_REQUEST","circuit_breakers":{"thresholds":[{"max_connections":20000,"max_pending_requests":20000,"max_requests":20000}]},"load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[%s]}]}}]}}""" % (PORT, eps))
    return [venv("venv-px", "envoy"), "-c", conf, "--concurrency", "1", "-l", "error"], {}


def traefik():
    dyn = write("traefik-dyn.yml", "http:\n  routers:\n    r:\n      rule: PathPrefix(`/`)\n      service: s\n  services:\n    s:\n      loadBalancer:\n        servers:\n" + "".join(f"          - url: {u}\n" for u in URLS))
    st = write("traefik.yml", f"entryPoints:\n  web:\n    address: 127.0.0.1:{PORT}\nproviders:\n  file:\n    filename: {dyn}\nglobal:\n  checkNewVersion: false\n  sendAnonymousUsage: false\nlog:\n  level: ERROR\nserversTransport:\n  maxIdleConnsPerHost: 4096\n")
    return [venv("venv-px", "traefik"), "--configFile=" + st], {}


def caddy():
    c = write("Caddyfile", "{\n admin off\n auto_https off\n log {\n  level ERROR\n }\n}\nhttp://127.0.0.1:%d {\n reverse_proxy %s {\n  lb_policy least_conn\n  flush_interval -1\n  transport http {\n   keepalive_idle_conns_per_host 4096\n  }\n }\n}\n" % (PORT, " ".join(f"127.0.0.1:{p}" for p in BACK)))
    return [venv("venv-px", "caddy"), "run", "--config", c, "--adapter", "caddyfile"], {}


def rustfam(env, prog, sub, policy, extra=()):
    lvl = "warning" if prog == "vllm-router" else "warn"
    return [venv(env, prog), *sub, "--host", "127.0.0.1", "--port", str(PORT), "--worker-urls", *URLS,
            "--policy", policy, "--log-level", lvl, "--prometheus-port", "21929", "--prometheus-host", "127.0.0.1",
            "--worker-startup-check-interval", "1", *extra], {}


def vllm_router(policy, *extra):
    return lambda: rustfam("venv", "vllm-router", [], policy, extra)


def sglang_router(policy):
    return lambda: rustfam("venv", "sglang-router", ["launch"], policy)


def smg(policy, *extra):
    return lambda: rustfam("venv-smg", "smg", ["launch"], policy, extra)


def pstack(policy, *extra):
    def f():
        src = os.path.join(PEERS, "ps-src", "src")
        return [venv("venv-ps", "python"), "-m", "vllm_router.app", "--host", "127.0.0.1", "--port", str(PORT),
                "--service-discovery", "static", "--static-backends", ",".join(URLS), "--static-models", ",".join(["m"] * 4),
                "--routing-logic", policy, "--log-level", "warning", *extra], {"PYTHONPATH": src}
    return f


def litellm():
    y = "model_list:\n" + "".join(f"  - model_name: m\n    litellm_params:\n      model: openai/m\n      api_base: {u}/v1\n      api_key: sk-x\n" for u in URLS)
    y += "router_settings:\n  routing_strategy: simple-shuffle\n  num_retries: 2\nlitellm_settings:\n  request_timeout: 600\n  telemetry: false\n"
    c = write("litellm.yaml", y)
    return [venv("venv-ll", "litellm"), "--config", c, "--host", "127.0.0.1", "--port", str(PORT), "--num_workers", "1"], {
        "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_SCHEMA_UPDATE": "true",
        "LITELLM_TELEMETRY": "False", "DO_NOT_TRACK": "1",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}


def router():
    """This repository's router, one worker like the others; ROUTER is its binary."""
    binary = os.environ.get("ROUTER", os.path.join(HERE, "..", "..", "target", "release", "router"))
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary} is not built: cargo build --release -p router, or set ROUTER to another binary")
    flags = ["--listen", f"127.0.0.1:{PORT}", "--admin-address", "127.0.0.1:21930", "--workers", "1", "--log-level", "warn"]
    return [binary, *flags, *(a for u in URLS for a in ("--engine", u))], {}


PEERDEF = {
    "direct": None,
    "nginx": nginx, "haproxy": haproxy, "envoy": envoy, "traefik": traefik, "caddy": caddy,
    "vllm-router:rr": vllm_router("round_robin"),
    "vllm-router:cache": vllm_router("cache_aware"),
    "vllm-router:hash": vllm_router("consistent_hash"),
    "sglang-router:rr": sglang_router("round_robin"),
    "sglang-router:cache": sglang_router("cache_aware"),
    "smg:rr": smg("round_robin"),
    "smg:cache": smg("cache_aware"),
    "pstack:rr": pstack("roundrobin"),
    "pstack:prefix": pstack("prefixaware"),
    "litellm": litellm,
    "vllm-router:p2c": vllm_router("power_of_two"),
    "router": router,
}
# what needs nothing but Debian's nginx; name others with --peers
DEFAULT = ["direct", "nginx", "router"]


# ---- process handling --------------------------------------------------------
def pin(core, cmd):
    return ["nice", "-n", NICE, "taskset", "-c", core, *cmd]


def children(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/children") as f:
                    todo += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return out


def cpu_of(pid):
    tot = 0.0
    for p in children(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                s = f.read()
            v = s[s.rindex(")") + 2:].split()
            tot += (int(v[11]) + int(v[12])) / HZ
        except (OSError, ValueError):
            pass
    return tot


def pss_kb(pid):
    tot = 0
    for p in children(pid):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                m = re.search(r"^Pss:\s+(\d+)", f.read(), re.M)
                tot += int(m.group(1)) if m else 0
        except OSError:
            pass
    return tot


def busy():
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return (sum(v) - v[3] - v[4]) / HZ


def get(url, timeout=3):
    with urllib.request.urlopen(url, timeout=timeout) as r:
        return r.read().decode()


def ctl(q):
    return get(f"http://127.0.0.1:{BACK[0]}/ctl/{q}")


def stats():
    d = json.loads(ctl("stats"))
    now = d.pop("now_ns")
    return d, now


class Back:
    def __enter__(self):
        self.p = subprocess.Popen(pin(CORE_LOAD, [os.path.join(BIN, "fakeback"), "--ports", ",".join(map(str, BACK))]))
        time.sleep(0.3)
        if os.environ.get("RENDER"):  # 0: engines without /render, 2: engines that refuse it (vLLM's default)
            ctl("set?render=" + os.environ["RENDER"])
        return self

    def __exit__(self, *a):
        self.p.kill()
        self.p.wait()


def post(port, body, path="/v1/chat/completions", headers=None, timeout=5):
    r = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=json.dumps(body).encode() if not isinstance(body, bytes) else body,
                               headers={"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(r, timeout=timeout) as x:
            return x.status, x.read().decode(errors="replace")
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(errors="replace")
    except Exception as e:  # refused, reset, timeout
        return 0, repr(e)


class Peer:
    def __init__(self, name):
        self.name, self.port, self.p = name, PORT, None

    def __enter__(self):
        d = PEERDEF[self.name]
        if d is None:
            self.port = BACK[0]
            return self
        cmd, env = d()
        log = open(os.path.join(OUT, f"log-{self.name.replace(':', '-')}.txt"), "w")
        t0 = time.time()
        self.p = subprocess.Popen(pin(CORE_PROXY, cmd), env={**os.environ, **env}, stdout=log, stderr=log, cwd=OUT)
        try:
            self.ready(t0)
        except BaseException:
            self.__exit__()
            raise
        self.startup = time.time() - t0
        time.sleep(1.0)
        self.idle_pss = pss_kb(self.p.pid)
        return self

    def ready(self, t0):
        while True:
            if self.p.poll() is not None:
                raise RuntimeError(f"{self.name} exited {self.p.returncode}")
            s, _ = post(self.port, {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}, timeout=3)
            if s == 200:
                break
            if time.time() - t0 > 90:
                raise RuntimeError(f"{self.name} not ready: {s}")
            time.sleep(0.2)

    def __exit__(self, *a):
        if self.p:
            self.p.send_signal(signal.SIGTERM)
            try:
                self.p.wait(6)
            except subprocess.TimeoutExpired:
                for c in children(self.p.pid):
                    try:
                        os.kill(c, signal.SIGKILL)
                    except OSError:
                        pass
                self.p.wait()
            time.sleep(0.5)


def realtime(pids, on):
    """RT=1: light scenarios run under SCHED_FIFO."""
    if os.environ.get("RT") != "1":
        return
    for p in pids:
        for c in children(p):
            subprocess.run(["chrt", "-a", "-f", "-p", "10", str(c)] if on else ["chrt", "-a", "-o", "-p", "0", str(c)], stderr=subprocess.DEVNULL)


def load(port, *args, timeout=90, sample=None, rt=False):
    pre = ["chrt", "-f", "11"] if rt and os.environ.get("RT") == "1" else []
    p = subprocess.Popen(pre + pin(CORE_LOAD, [os.path.join(BIN, "loadgen"), "--port", str(port), *map(str, args)]), stdout=subprocess.PIPE, text=True)
    got = []
    t0 = time.time()
    while sample and p.poll() is None:
        if time.time() - t0 > sample[0]:
            got.append(sample[1]())
            break
        time.sleep(0.05)
    out, _ = p.communicate(timeout=timeout)
    r = json.loads(out)
    r["sampled"] = got[0] if got else None
    return r


def wait_quiet(limit=0.15, tries=40):
    for _ in range(tries):
        b, t = busy(), time.time()
        time.sleep(0.5)
        if (busy() - b) / (time.time() - t) < limit:
            return True
    return False


# ---- perf --------------------------------------------------------------------
def scenarios(secs):
    return [
        # name, loadgen args, backend settings
        ("sat-600B", ["--conns", 64, "--secs", secs, "--prompt-bytes", 600, "--distinct", 256], "interval_us=20000&ttft_us=0&delay_us=0"),
        ("sat-32KB", ["--conns", 32, "--secs", secs, "--prompt-bytes", 5300, "--turns", 4, "--distinct", 64], "interval_us=20000&ttft_us=0&delay_us=0"),
        ("low-200rps", ["--conns", 4, "--rate", 200, "--secs", secs, "--prompt-bytes", 600, "--distinct", 256], "interval_us=20000&ttft_us=0&delay_us=0"),
        ("stream-300", ["--conns", 300, "--stream", 100, "--secs", secs, "--warmup", 3], "interval_us=20000&ttft_us=0&delay_us=0"),
        ("stream-1500", ["--conns", 1500, "--stream", 100, "--secs", secs, "--warmup", 4], "interval_us=20000&ttft_us=0&delay_us=0"),
        ("idle-1000", ["--conns", 1000, "--stream", 20, "--secs", 4, "--warmup", 4], "interval_us=500000&ttft_us=0&delay_us=0"),
    ]


def perf(a):
    with Back() as back:
        for rep in range(a.reps):
            for name in a.peers:
                try:
                    with Peer(name) as pr:
                        for sc, args, cfg in scenarios(a.secs):
                            if a.only and sc not in a.only:
                                continue
                            light = sc.startswith(("low", "stream-300", "idle"))
                            for attempt in range(a.tries):
                                quiet = wait_quiet(tries=a.quiet)
                                realtime([back.p.pid] + ([pr.p.pid] if pr.p else []), light)
                                ctl("set?" + cfg)
                                ctl("reset")
                                pid = pr.p.pid if pr.p else None
                                c0 = cpu_of(pid) if pid else 0
                                b0, cb0, t0 = busy(), cpu_of(back.p.pid), time.time()
                                try:
                                    r = load(pr.port, *args, sample=(3.5 if "stream" in sc or "idle" in sc else 2, lambda: pss_kb(pid) if pid else 0), rt=light)
                                except Exception as e:
                                    print(f"{name} {sc}: {e}", flush=True)
                                    r = None
                                    break
                                el = time.time() - t0
                                st, _ = stats()
                                tot_req, tot_ch = r["all_done"], r["all_chunks"]
                                cp = cpu_of(pid) - c0 if pid else 0
                                cb = cpu_of(back.p.pid) - cb0
                                mine = cp + cb + r["client_cpu"] * r["secs"] * (el / max(r["secs"], .1))
                                r.update(peer=name, scenario=sc, rep=rep, proxy_cpu=round(cp / el, 3), back_cpu=round(cb / el, 3),
                                         foreign=round(max(0, busy() - b0 - mine) / el, 3), quiet=quiet,
                                         cpu_us_per_req=round(cp / max(tot_req, 1) * 1e6, 2), cpu_us_per_chunk=round(cp / max(tot_ch, 1) * 1e6, 3) if "stream" in sc else None,
                                         pss_kb=r.pop("sampled"), idle_pss_kb=getattr(pr, "idle_pss", 0), startup_s=round(getattr(pr, "startup", 0), 2),
                                         spread={k: v["reqs"] for k, v in st.items()}, amplification=round(sum(v["reqs"] for v in st.values()) / max(1, tot_req), 2) if "stream" not in sc else None)
                                realtime([back.p.pid] + ([pr.p.pid] if pr.p else []), False)
                                if r["foreign"] < 0.12:
                                    break
                            if r is None:
                                continue
                            with open(os.path.join(OUT, "perf.jsonl"), "a") as f:
                                f.write(json.dumps(r) + "\n")
                            print(f"{name:20s} {sc:12s} rps={r['rps']:.0f} ok={r['ok']} bad={r['non2xx']+r['err']+r['timeouts']+r['truncated']} p50={r['lat_us']['p50']:.0f} p99={r['lat_us']['p99']:.0f} "
                                  f"ch/s={r['chunks_s']} hold p50={r['hold_us']['p50']:.0f} p99={r['hold_us']['p99']:.0f} cpu={r['proxy_cpu']} us/req={r['cpu_us_per_req']} us/ch={r['cpu_us_per_chunk']} pss={r['pss_kb']} idle={r['idle_pss_kb']} back={r['back_cpu']} cli={r['client_cpu']} foreign={r['foreign']}", flush=True)
                except Exception as e:
                    print(f"{name}: FAILED {e}", flush=True)


# ---- behaviour ---------------------------------------------------------------
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
ENDPOINTS = [
    ("POST", "/v1/chat/completions", CHAT), ("POST", "/v1/completions", {"model": "m", "prompt": "hi", "max_tokens": 4}),
    ("POST", "/v1/responses", {"model": "m", "input": "hi"}), ("POST", "/v1/embeddings", {"model": "m", "input": "hi"}),
    ("POST", "/v1/messages", {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/rerank", {"model": "m", "query": "a", "documents": ["b"]}), ("POST", "/v1/rerank", {"model": "m", "query": "a", "documents": ["b"]}),
    ("POST", "/v2/rerank", {"model": "m", "query": "a", "documents": ["b"]}),
    ("POST", "/score", {"model": "m", "text_1": "a", "text_2": "b"}), ("POST", "/v1/score", {"model": "m", "text_1": "a", "text_2": "b"}),
    ("POST", "/classify", {"model": "m", "input": "a"}), ("POST", "/pooling", {"model": "m", "input": "a"}),
    ("POST", "/tokenize", {"model": "m", "prompt": "a"}), ("POST", "/detokenize", {"model": "m", "tokens": [1]}),
    ("POST", "/v1/audio/transcriptions", None), ("POST", "/v1/audio/translations", None),
    ("POST", "/v1/images/generations", {"model": "m", "prompt": "x"}),
    ("POST", "/inference/v1/generate", {"model": "m", "token_ids": [1]}), ("POST", "/invocations", CHAT),
    ("POST", "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "b"}),
    ("GET", "/v1/models", None), ("GET", "/health", None), ("GET", "/metrics", None), ("GET", "/version", None),
]


def multipart(path):
    b = b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF0000WAVE\r\n--XX--\r\n"
    return b, {"content-type": "multipart/form-data; boundary=XX"}


def raw_get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as r:
            return r.status, r.read().decode(errors="replace")
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(errors="replace")
    except Exception as e:
        return 0, repr(e)


def raw_stream(port):
    """One stream read to its end, whatever the end is: (all bytes, how it ended)."""
    b = json.dumps({"model": "m", "stream": True, "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}).encode()
    out = b""
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.settimeout(5)
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(b) + b)
        try:
            while True:
                d = s.recv(65536)
                if not d:
                    return out, "fin"
                out += d
                if out.endswith(b"0\r\n\r\n"):
                    return out, "end of chunks"
        except ConnectionResetError:
            return out, "reset"
        except OSError as e:
            return out, repr(e)


def behave(a):
    with Back():
        for name in a.peers:
            res = {"peer": name}
            try:
                with Peer(name) as pr:
                    res["startup_s"] = round(getattr(pr, "startup", 0), 2)
                    ctl("set?interval_us=20000&ttft_us=0&delay_us=0")
                    # 1 endpoints: did the request reach an engine?
                    ep, errs = {}, {}
                    for m, path, body in ENDPOINTS:
                        ctl("reset")
                        if m == "GET":
                            s, txt = raw_get(pr.port, path)
                        else:
                            b, h = multipart(path) if body is None else (body, {})
                            s, txt = post(pr.port, b, path, h)
                        if s != 200:
                            errs[path] = f"{s} {txt[:160]}"
                        st, _ = stats()
                        ep[path] = [s, sum(x["reqs"] for x in st.values())]
                    res["endpoints"], res["endpoint_errors"] = ep, errs
                    # 2 fidelity of what the engine sees
                    body = b'{"model":"m", "zz_unknown":{"b":1.50,"a":[1,2],"big":12345678901234567890123}, "messages":[{"role":"user","content":"hi","zz":1}],"max_tokens":4,"seed":42,"kv_transfer_params":{"x":1},"structured_outputs":{"regex":"a"},"cache_salt":"s","priority":-3,"vllm_xargs":{"k":"v"}}'
                    ctl("reset")
                    s, txt = post(pr.port, body, headers={"authorization": "Bearer user-key", "x-request-id": "rid-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-custom": "c1"})
                    last = ""
                    for p in BACK:
                        t = get(f"http://127.0.0.1:{BACK[0]}/ctl/last?port={p}")
                        if t.strip():
                            last = t
                    head, _, got = last.partition("\r\n\r\n")
                    res["fidelity"] = {"status": s, "error": txt[:300] if s != 200 else "", "bytes_identical": got == body.decode(), "unknown_kept": "zz_unknown" in got, "msg_unknown_kept": '"zz":1' in got.replace(" ", ""),
                                       "kv_transfer_params": "kv_transfer_params" in got, "structured_outputs": "structured_outputs" in got, "cache_salt": "cache_salt" in got, "priority": '"priority"' in got, "vllm_xargs": "vllm_xargs" in got,
                                       "bigint": "12345678901234567890123" in got, "grew_bytes": len(got) - len(body),
                                       "authorization": "user-key" in head, "x-request-id": "rid-1" in head, "traceparent": "0af7651916cd43dd8448eb211c80319c" in head, "x-custom": "x-custom" in head.lower()}
                    # 3 abort while streaming, and while waiting for a non-streaming answer
                    for kind, args, cfg in (("stream", ["--abort", 8, "--stream", 2000, "--conns", 40, "--secs", 20, "--warmup", 0.5], "interval_us=20000&delay_us=0"),
                                            ("wait", ["--abort", 0, "--abort-ms", 300, "--conns", 40, "--secs", 20, "--warmup", 0.5], "interval_us=20000&delay_us=15000000")):
                        for fin in ([], ["--fin"]):
                            ctl("set?" + cfg)
                            ctl("reset")
                            r = load(pr.port, *args, *fin)
                            seen = 0
                            t0 = time.time()
                            while time.time() - t0 < 4:
                                st, now = stats()
                                seen = sum(x["aborts"] for x in st.values())
                                if seen >= r["aborted"]:
                                    break
                                time.sleep(0.05)
                            last_ns = max(x["last_abort_ns"] for x in st.values())
                            res[f"abort_{kind}{'_fin' if fin else '_rst'}"] = {"client_aborted": r["aborted"], "engine_saw": seen, "lag_ms": round((last_ns - r["last_abort_ns"]) / 1e6, 1) if seen else None}
                            time.sleep(0.5)
                    ctl("set?interval_us=20000&ttft_us=0&delay_us=0")
                    # 4 one engine of four fails: what do clients see?
                    rate = 60 if name.startswith(("pstack", "litellm")) else 300
                    for mode in ("503", "close", "down"):
                        ctl("reset")
                        load(pr.port, "--conns", 8, "--rate", rate, "--secs", 1, "--warmup", 0.5)
                        ctl(f"fail?port={BACK[2]}&mode={mode}")
                        r = load(pr.port, "--conns", 8, "--rate", rate, "--secs", 5, "--warmup", 0, "--timeout-ms", 3000)
                        bad = r["non2xx"] + r["err"] + r["timeouts"] + r["truncated"]
                        ctl(f"fail?port={BACK[2]}&mode=off")
                        time.sleep(0.2)
                        ctl("reset")
                        t0 = time.time()
                        back_after = None
                        while time.time() - t0 < 20:
                            load(pr.port, "--conns", 8, "--rate", rate, "--secs", 0.5, "--warmup", 0)
                            st, _ = stats()
                            if st[str(BACK[2])]["reqs"] > 0:
                                back_after = round(time.time() - t0, 1)
                                break
                        res[f"fail_{mode}"] = {"sent": r["ok"] + bad, "bad": bad, "bad_pct": round(100 * bad / max(1, r["ok"] + bad), 2), "statuses": r["statuses"], "err": r["err"], "timeouts": r["timeouts"], "p99_ms": round(r["lat_us"]["p99"] / 1000, 1), "engine_used_again_after_s": back_after}
                    # 5 an engine that dies in the middle of streams
                    ctl("set?interval_us=2000")
                    ctl(f"fail?port={BACK[2]}&mode=midclose")
                    r = load(pr.port, "--conns", 8, "--stream", 30, "--secs", 2, "--warmup", 0)
                    ctl("fail?mode=midclose")
                    tail, end = raw_stream(pr.port)
                    ctl("fail?mode=off")
                    res["midclose_end"] = {"end": end, "error_event": b'"error"' in tail[-2000:], "done_sent": b"[DONE]" in tail}
                    res["midclose"] = {"ok": r["ok"], "truncated": r["truncated"], "err": r["err"], "non2xx": r["non2xx"]}
            except Exception as e:
                res["failed"] = repr(e)
            with open(os.path.join(OUT, "behave.jsonl"), "a") as f:
                f.write(json.dumps(res) + "\n")
            print(json.dumps(res, indent=None), flush=True)


# ---- report ------------------------------------------------------------------
def report(a):
    rows = {}
    with open(os.path.join(OUT, "perf.jsonl")) as f:
        for line in f:
            r = json.loads(line)
            rows.setdefault((r["peer"], r["scenario"]), []).append(r)

    def best(peer, sc, key, lo=True):
        v = [key(r) for r in rows.get((peer, sc), []) if key(r) is not None]
        return (min(v) if lo else max(v)) if v else None

    peers = [p for p in PEERDEF if any(k[0] == p for k in rows)]
    base_l = best("direct", "low-200rps", lambda r: r["lat_us"]["p50"])
    base_l9 = best("direct", "low-200rps", lambda r: r["lat_us"]["p99"])
    base_h = best("direct", "stream-300", lambda r: r["hold_us"]["p50"])
    base_h9 = best("direct", "stream-300", lambda r: r["hold_us"]["p99"])
    ng = lambda sc, key, lo=True: best("nginx", sc, key, lo)
    f = lambda v, n=2: "-" if v is None else f"{v:.{n}f}"
    d = lambda x, y: None if x is None or y in (None, 0) else x / y
    print("| peer | rps@sat vs nginx | CPU/req vs nginx | 32KB rps vs nginx | 32KB CPU/req | added p50 us | added p99 us | CPU/chunk vs nginx | hold p50 us | hold p99 us | chunks/s @75k offered | idle MB | KB per idle stream |")
    print("|" + "---|" * 13)
    for p in peers:
        g = lambda sc, key, lo=True: best(p, sc, key, lo)
        rps = d(g("sat-600B", lambda r: r["rps"], False), ng("sat-600B", lambda r: r["rps"], False))
        cpu = d(g("sat-600B", lambda r: r["cpu_us_per_req"]), ng("sat-600B", lambda r: r["cpu_us_per_req"]))
        rps2 = d(g("sat-32KB", lambda r: r["rps"], False), ng("sat-32KB", lambda r: r["rps"], False))
        cpu2 = d(g("sat-32KB", lambda r: r["cpu_us_per_req"]), ng("sat-32KB", lambda r: r["cpu_us_per_req"]))
        lp, l9 = g("low-200rps", lambda r: r["lat_us"]["p50"]), g("low-200rps", lambda r: r["lat_us"]["p99"])
        cc = d(g("stream-300", lambda r: r["cpu_us_per_chunk"]), ng("stream-300", lambda r: r["cpu_us_per_chunk"]))
        hp, h9 = g("stream-300", lambda r: r["hold_us"]["p50"]), g("stream-300", lambda r: r["hold_us"]["p99"])
        cs = g("stream-1500", lambda r: r["chunks_s"], False)
        idle = g("sat-600B", lambda r: r["idle_pss_kb"])
        per = g("idle-1000", lambda r: (r["pss_kb"] or 0) - r["idle_pss_kb"])
        sub = lambda x, y: None if x is None or y is None else x - y
        print(f"| {p} | {f(rps)} | {f(cpu)} | {f(rps2)} | {f(cpu2)} | {f(sub(lp, base_l), 0)} | {f(sub(l9, base_l9), 0)} | {f(cc)} | {f(sub(hp, base_h), 0)} | {f(sub(h9, base_h9), 0)} | {f(cs, 0)} | {f(idle and idle / 1024, 1)} | {f(per and per / 1000, 1)} |")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("cmd", choices=["perf", "behave", "report"])
    ap.add_argument("--peers", default=",".join(DEFAULT))
    ap.add_argument("--reps", type=int, default=1)
    ap.add_argument("--secs", type=float, default=6)
    ap.add_argument("--only", default="")
    ap.add_argument("--tries", type=int, default=1, help="repeat a scenario while others use the machine")
    ap.add_argument("--quiet", type=int, default=4, help="half seconds to wait for a quiet machine")
    a = ap.parse_args()
    # with sched_autogroup, nice works only inside a session: weigh the whole session instead
    if os.environ.get("GROUP_NICE"):
        try:
            os.setsid()
        except OSError:
            pass
        with open("/proc/self/autogroup", "w") as f:
            f.write(os.environ["GROUP_NICE"])
    a.peers = [p for p in a.peers.split(",") if p]
    a.only = [x for x in a.only.split(",") if x]
    os.makedirs(OUT, exist_ok=True)
    {"perf": perf, "behave": behave, "report": report}[a.cmd](a)


if __name__ == "__main__":
    main()
