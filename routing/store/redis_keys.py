"""Every Redis key and channel, in one place: type, writer, meaning and life.

    pool.<name>, batch.<name>  list    admit, requeue, ring  Celery queues; doorbells only
    job:<id>                   hash    all job scripts       10 min past its deadline
    req:<id>                   string  admit                 request body; gone at the end
    ev:<id>                    stream  emit, finish          frames, id `epoch-seq`; 2 min past end
    jobs:due                   zset    admit, claim, renew   id -> ms: doorbell or lease overdue,
                                                             or a parked job is to be woken
    bud:<scope>                hash    admit, release        avail, held, ver (nano-dollars)
    hold:<id>                  hash    admit, reserve        scope -> nano, until released
    holds:due                  zset    admit, reserve        id -> ms: a hold to look into
    idem:<account>:<key>       string  admit                 job id and fingerprint, 24 h
    lim:<what>:<who>:<window>  string  admit                 counter of a fixed window
    gcra:<what>:<who>          string  admit, finish         us until a rate is free again
    par:<who>                  zset    admit, finish, cancel requests at once -> ms they end
    key:<hash>                 string  front door            cached KeyRecord
    key:<hash>:mark            string  management            how often it was changed
    cb:<endpoint>              hash    gate, outcome         breaker
    cb:<endpoint>:w            hash    outcome               30 s window in 5 s buckets
    aimd:<endpoint>            hash    capacity              calls at once, learnt; 60 s
    users:<endpoint>           zset    gate                  process -> ms it last asked; 10 s
    conc:<endpoint>            zset    gate, lease           call in flight -> ms its lease ends
    rate:<endpoint>            hash    gate, capacity        us until its rates are free again
    health:unstable            zset    outcome               endpoint -> ms until it is stable
    fig:m:<minute>             hash    figures               counts of endpoints, 40 min
    fig:h:<hour>               hash    figures               likewise of one hour, 26 h
    fig:v:<hour>               hash    figures               its histograms, 26 h
    fig:b:<batch>              string  figures               counted already; 5 min
    stick:<name>               string  workers               endpoint of a conversation, 10 min
    bill:out                   stream  finish, cancel        charges, group `settle`
    kept:<id>                  hash    workers               epoch -> sealed prompt and answer, 24 h
    dlq:jobs                   stream  reaper                jobs that killed their workers
    fd:<id>                    channel emit, finish          frames to one front door process
    fdhb:<id>                  string  front door            heartbeat
    wk:<id>                    channel cancel                job ids to let go of
    workers:alive              zset    renew                 worker -> ms its heartbeat ends
    control                    channel command line          catalog reload
    control:orders             string  command line          how many were given
    control:seen               hash    every process         process -> catalog digest it runs
    lock:reaper                string  reaper                one active reaper, 3 s
    turn:<what>                string  turns                 who is at it

Scripts touch keys whose names they build (budgets of a hold, figures), so a cell is one Redis, not
a Redis Cluster; scale by cells.
"""

from __future__ import annotations

JOBS_DUE = "jobs:due"
HOLDS_DUE = "holds:due"
OUTBOX = "bill:out"
OUTBOX_GROUP = "settle"
UNSTABLE = "health:unstable"
DEAD_LETTERS = "dlq:jobs"
CONTROL = "control"
CONTROL_ORDERS = "control:orders"
CONTROL_SEEN = "control:seen"
REAPER_LOCK = "lock:reaper"
WORKERS = "workers:alive"

JOB_PREFIX = "job:"
FRONT_DOOR_HEARTBEAT_PREFIX = "fdhb:"
WORKER_CHANNEL_PREFIX = "wk:"
BUDGET_PREFIX = "bud:"
HOLD_PREFIX = "hold:"


def job(job_id: str) -> str:
    """State of one job."""
    return JOB_PREFIX + job_id


def request(job_id: str) -> str:
    """Body of one job: the claim check."""
    return "req:" + job_id


def events(job_id: str) -> str:
    """Frames of one job, for replay."""
    return "ev:" + job_id


def budget(scope: str) -> str:
    """Cached balance and holds of one scope."""
    return BUDGET_PREFIX + scope


def hold(job_id: str) -> str:
    """What one job holds, by scope."""
    return HOLD_PREFIX + job_id


def idempotency(account_id: str, key: str) -> str:
    """The job an idempotency key stands for."""
    return f"idem:{account_id}:{key}"


def limit(what: str, who: str, window: int) -> str:
    """Counter of one fixed window."""
    return f"lim:{what}:{who}:{window}"


def key_record(key_hash: str) -> str:
    """Cached key."""
    return "key:" + key_hash


def key_mark(key_hash: str) -> str:
    """How often a key was changed lately."""
    return f"key:{key_hash}:mark"


def pace(what: str, who: str) -> str:
    """How much of a rate is used."""
    return f"gcra:{what}:{who}"


def slots(who: str) -> str:
    """Requests a key or an account has under way."""
    return "par:" + who


def breaker(endpoint_id: str) -> str:
    """Breaker state of one endpoint."""
    return "cb:" + endpoint_id


def breaker_window(endpoint_id: str) -> str:
    """Counts of one endpoint's last 30 s."""
    return f"cb:{endpoint_id}:w"


def learnt_limit(endpoint_id: str) -> str:
    """Calls at once that one endpoint was found to take."""
    return "aimd:" + endpoint_id


def users(endpoint_id: str) -> str:
    """Processes that use one endpoint."""
    return "users:" + endpoint_id


def calls_at_once(endpoint_id: str) -> str:
    """Calls in flight of one endpoint that takes only so many."""
    return "conc:" + endpoint_id


def rate(endpoint_id: str) -> str:
    """How much of one endpoint's rates is used."""
    return "rate:" + endpoint_id


def figures_of_minute(minute: int) -> str:
    """Counts of one minute, numbered since 1970."""
    return f"fig:m:{minute}"


def figures_of_hour(hour: int) -> str:
    """Counts of one hour, numbered since 1970."""
    return f"fig:h:{hour}"


def values_of_hour(hour: int) -> str:
    """Histograms of one hour, numbered since 1970."""
    return f"fig:v:{hour}"


def figures_batch(batch_id: str) -> str:
    """Mark of counts that were added."""
    return "fig:b:" + batch_id


def sticky(name: str) -> str:
    """The endpoint that holds the cached prompt of one conversation."""
    return "stick:" + name


def turn(what: str) -> str:
    """Who does something that one process does at a time."""
    return "turn:" + what


def content(generation_id: str) -> str:
    """What a generation was asked and answered, sealed, until it is settled."""
    return "kept:" + generation_id


def front_door_channel(front_door: str) -> str:
    """Frames for one front door process."""
    return "fd:" + front_door


def front_door_heartbeat(front_door: str) -> str:
    """Alive mark of one front door process."""
    return FRONT_DOOR_HEARTBEAT_PREFIX + front_door


def worker_channel(worker: str) -> str:
    """Cancellations for one worker process."""
    return WORKER_CHANNEL_PREFIX + worker
