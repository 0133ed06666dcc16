"""The words that rules know: verbs of tools, words of columns and fields, words of requests.

Plain English, no list of any domain.
"""

from __future__ import annotations

__all__ = [
    "AFFIRMING",
    "BEGINNINGS",
    "CARRIERS",
    "COUNT_WORDS",
    "CURRENCIES",
    "DELIVERING",
    "DONE",
    "FINISHING",
    "GERMAN",
    "GOAL_WORDS",
    "HANDING_OVER",
    "HIGHER",
    "IDLE",
    "LOWER",
    "MONEY",
    "NOT_REALLY",
    "NUMBER_WORDS",
    "OPENERS",
    "OPENING_WORDS",
    "PUT_OFF",
    "READING",
    "READ_NOUNS",
    "SELLERS",
    "STATES",
    "STATUS_FIELDS",
    "STEERING",
    "STOPWORDS",
    "SYNONYMS",
    "TELLING_FIELDS",
    "THINGS_TOO",
    "TIME_WORDS",
    "TRYING",
    "UNDOING",
    "WRITING",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Verbs in tools' names that only look.
READING = _words(
    """
    browse calc calculate check compare compute convert count describe detect estimate evaluate examine explore
    fetch find forecast geocode get inspect list load locate look lookup match measure preview query quote read
    recommend resolve retrieve review scan search see select show sum summarize track translate validate verify view
    visit weather
    """
)

# Verbs in tools' names that change something.
WRITING = _words(
    """
    accept activate add adjust append apply approve archive assign authorize block book buy cancel change charge
    checkout close commit configure confirm copy create deactivate delete deploy disable edit enable enroll exchange
    dispatch erase execute file forward grant import insert install invite issue merge modify move notify open order
    pay place post publish purchase push put reassign redeem refund register reimburse reject remove rename reopen
    replace reply reschedule resend reserve reset restart restore return revoke run save schedule sell send set share
    ship sign start stop submit subscribe suspend swap terminate transfer unblock unlock unsubscribe update upgrade
    upload upsert waive withdraw write
    """
)

# Nouns that end the names of tools that only look ('shipping_quote').
READ_NOUNS = _words(
    """
    availability balance details forecast history info information lookup policies policy quote search status
    """
)

# What the result of a write says where it was done, besides the past of the tool's own verb.
DONE = _words(
    """
    accepted active added applied approved booked complete completed confirmed created delivered done executed
    finalized fulfilled granted ok okay paid placed processed registered removed saved scheduled sent shipped submitted
    succeeded success successful successfully updated
    """
)

# What it says where it was put off, only tried, or is asked about.
PUT_OFF = _words(
    """
    aborted approval await awaiting awaits draft dry hold if manual once please preview queued review sandbox simulated
    simulation test unless until void voided wait waiting will would
    """
)

# Flags of a record that say whether it was done, and those that say that it was not really.
AFFIRMING = _words("accepted approved complete completed confirmed done executed ok placed processed success succeeded")
NOT_REALLY = _words(
    """
    blocked declined denied draft dry expired failed ignored pending preview rejected required requires sandbox
    simulated simulation skipped test
    """
)

# Numbers as words, each at its own place.
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)

# Fields of a result, folded, that say how a deed went, and those that tell of it in a sentence.
STATUS_FIELDS = frozenset(("status", "state", "result", "outcome"))
TELLING_FIELDS = frozenset(("message", "msg", "detail", "details", "info", "note"))

# What a record says of where its thing stands.
STATES = _words(
    """
    active approved available cancelled canceled closed completed delivered disabled enabled expired failed inactive
    open paid pending processing refunded rejected resolved shipped suspended unavailable unpaid unverified verified
    """
)

# Words of a goal that asks for no more than a try.
TRYING = _words("check draft dry preview sandbox simulate simulation staging test trial try validate")

# Verbs of tools that take back what another one did.
UNDOING = _words("cancel delete remove revert revoke rollback terminate undo withdraw")

# Verbs that are nouns as well: 'refund_status' looks, 'refund_order' does.
THINGS_TOO = _words("order refund")

# A text agent's way to say "this is my answer"; no tool of the world.
FINISHING = _words(
    """
    answer done final_answer finalanswer finish give_answer respond submit_answer terminate
    """
)

# Thinking aloud is neither a read nor a write, and achieves nothing.
IDLE = _words(
    """
    noop note plan reflect scratchpad think thought
    """
)

# Words that carry no meaning by themselves.
STOPWORDS = _words(
    """
    a about above after again all also am an and any are as at be been before being below between both but by can
    could did do does doing done down each either else enough etc every few for from further get gets give given go
    had has have having he her here hers him his how i if in into is it its itself just know let like make many may
    me might more most much must my need needs no nor not now of off on once one only or other our ours out over own
    per please same shall she should so some such than that the their theirs them then there these they this those
    through to too under until up upon us use used using very via want wants was we well were what when where
    whether which while who whom whose why will with within without would yes yet you your yours
    """
)

# Words that begin sentences with a capital and are no names; most are verbs of requests.
OPENING_WORDS = _words(
    """
    action add adjust afterwards answer apply arrange ask book bring browse buy calculate call can't cancel change
    check choose collect compare compute confirm contact convert create daily dear delete deliver describe determine
    display don't download email ensure estimate everyone exchange explain fetch figure fill finally finance find
    finish first fix format generate great greetings hello help hey hi i'd i'll i'm i've identify include install
    it's keep kindly last list locate look modify monthly move name new next nobody nothing obtain offer ok okay old
    open order pay pick place post prepare present print provide purchase put query quote rank read rebook recommend
    record refund register remove rent reply report request reserve resolve retrieve return review run save schedule
    search second see select sell send set ship show someone sort start state submit suggest sum summarise summarize
    sure tell thank thanks there's third thought today today's tomorrow track transfer translate try turn update
    upgrade urgent verify view visit weekly what's where's who's work write
    """
)

# Words that begin sentences of requests, and are no names there. Elsewhere they mean what they mean.
BEGINNINGS = (
    OPENING_WORDS
    | READING
    | WRITING
    | _words(
        """
        although anyway because besides despite either every instead log mark maybe meanwhile my note otherwise perhaps
        queue regarding since sorry still unfortunately whatever yesterday
        bitte danke du es gib gibt guten hallo ich ihr ihre könnt könnten können liebe mein meine moin sehr sie
        suche und wann warum was welche welcher welches wer wie wieviele wir wo zeig zeige
        auriez avez bonjour combien donnez est-ce il je merci où peux-tu pourquoi pourriez pouvez puis quand quel
        quelle quelles quels qui s'il veuillez vous
        buenas buenos cuál cuáles cuándo cuánto cuántos cuántas dónde gracias hola me necesito podría podrías por
        puede puedes qué quiero quisiera
        buongiorno ciao dove grazie mi potrebbe puoi quale quali quando quanti quanto vorrei
        alsjeblieft graag hoe hoeveel ik kunt kun waar welke wil
        """
    )
)

# Words that tell German, where every noun has a capital.
GERMAN = _words(
    """
    am auf aus bei bitte das dem den der des die dir ein eine einem einen einer es für gibt haben hat ich ihr ihre im
    ist kann können mein meine mich mir mit nach nicht oder sie sind und uns vom von was welche wie wir wurde zu zum zur
    """
)

# Words of column names whose smaller values serve better.
LOWER = _words(
    """
    amount charge cost days delivery distance duration eta fare fee fees hours lead minutes price rate total wait
    """
)

# Words of column names whose larger values serve better.
HIGHER = _words(
    """
    rating ratings score stars
    """
)

# Words of column names that hold prices.
MONEY = _words(
    """
    amount charge cost fare fee fees price total
    """
)

# Words of field names that hold durations.
TIME_WORDS = _words(
    """
    day days delivery duration eta hour hours lead minute minutes week weeks
    """
)

# Words of field names that hold counts.
COUNT_WORDS = _words(
    """
    amount count guests nights number passengers pieces qty quantity seats stock units
    """
)

# Names of currencies.
CURRENCIES = _words(
    """
    chf dollar dollars eur euro euros gbp jpy pound pounds usd
    """
)

# Arguments that steer a tool and mean nothing to a user.
STEERING = _words(
    """
    format k lang language limit max_results n num_results offset order_by page page_size per_page sort sort_by
    top_k verbose
    """
)

# Parameters that name whom something comes from.
SELLERS = _words(
    """
    airline carrier hotel merchant provider restaurant seller shop store supplier vendor
    """
)

# Words of tools for which a city is where something goes.
DELIVERING = _words(
    """
    buy deliver order price purchase quote send
    """
)

# Verbs that only carry their noun: 'place an order' is 'order'.
CARRIERS = _words(
    """
    create issue make place submit
    """
)

# Giving up is nothing that a user asks for.
HANDING_OVER = _words(
    """
    escalate escalation handoff handover human humans
    """
)

OPENERS = STOPWORDS | OPENING_WORDS

# Words by which a goal says what counts; they are proven as predicates, never as words of the run.
GOAL_WORDS = _words(
    """
    apiece best cheapest delivered delivery detail details each fastest highest info information least lowest maximum
    minimum most new one people person price quickest result results shipped shipping shortest three total two unit
    units via
    """
)

# Verbs that ask for the same deed.
SYNONYMS = tuple(
    _words(group)
    for group in (
        "order buy purchase acquire procure get place",
        "book reserve schedule",
        "cancel abort call",
        "send email mail message forward",
        "update change modify edit adjust",
        "delete remove clear",
        "create make add set open",
        "return refund reimburse send",
        "pay transfer settle",
    )
)
