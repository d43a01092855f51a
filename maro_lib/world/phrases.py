"""Every sentence that the game says to a player, in English, in Chinese, and in the compact register.

A phrasebook is data: another language or register is one more entry in `BOOKS`. Agents' words never stand
outside the quotation marks that these templates put around them (see `maro_lib.world.replies.clean`).

Taught in notebook 01.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasebook:
    comma: str
    # the system message
    you_are: str
    frame: str
    rated: dict[str, str]  # by Rules.ratings
    background: str
    special: str
    yours: str
    sections: dict[str, str]
    goal: str
    side: dict[str, str]
    partners: str
    # what the game asks for, and in which form
    intro: str
    turn: str
    places: str
    no_places: str
    answer: str
    rate: str
    vote: str
    summarise: str
    resumed: str
    correction: str
    forms: dict[str, str]
    reasons: dict[str, str]
    # what is seen of the others
    round: str
    stage: str
    now: str
    says: str
    asks: str
    answers: str
    silent: str
    passes: str
    found: str
    found_own: str
    kept: str
    private: str
    memory: str
    nothing: str
    # what scripted players say
    name_self: str
    suspect: str
    no_idea: str
    question: str
    fact: str
    ask: str
    search: str
    voted: str
    rating: str
    rating_joint: str


EN = Phrasebook(
    comma=", ",
    you_are="You are {name}. You are playing a murder mystery together with {others}.",
    frame=(
        "The game: everybody introduces themselves; then come {rounds} round(s). On your turn you either ask one "
        "player one question or search one place; questions, answers and the clues found are heard by all. "
        "{rated}At the end all vote. The civilians win if the most votes fall on "
        "a culprit; after a tie, or otherwise, the culprits win. There are {n} culprit(s). Stay in character, keep "
        "to the forms you are given, and be brief."
    ),
    rated={
        "round": "After each round you rate the others in private. ",
        "turn": "After each turn you rate the others in private. ", "never": "",
    },
    background="The case\n{text}",
    special="Special rules of this world\n{text}",
    yours="Your character (nobody else can read this)",
    sections={
        "story": "Story", "script": "What you did and saw", "relationship": "The others, to you",
        "performance": "How you speak and act", "purpose": "What you want", "ability": "What you can do",
    },
    goal="Your own goal: {text}",
    side={
        "culprit": "You are guilty. You win if the vote does not fall on a culprit.",
        "civilian": "You are innocent. You win if the vote falls on a culprit.",
    },
    partners="Guilty with you: {names}.",
    intro="Introduce yourself to the others in a few sentences. Say only what you want them to know.",
    turn="It is your turn: ask one player one question, or search one place. Reply with one line, in one of these "
    "forms:\nASK <name>: <question>\nSEARCH <place>\nYou can ask: {names}.",
    places="Places that still hold something: {places}.",
    no_places="No place holds anything more for you, so you can only ask.",
    answer='{asker} asks you: "{question}"\nAnswer in a few sentences.',
    rate="Rate each of the others from 0 (not at all) to 2 (very much). Reply with one line for each:\n"
    "<name>: suspicion <0-2>, trust <0-2>\nRate: {names}.",
    vote="Who did it? Reply with one line:\nVOTE <name>\nYou can vote for: {names}.",
    summarise="Your notes are getting long. Sum up, in a few sentences, all that matters: who said what, which clues "
    "were found, whom you suspect and why. Nobody else will read this; from now on you remember only your summary.",
    resumed='Your own summary of all that happened before: "{text}"',
    correction="That does not count: {reason} Reply again, only in this form: {form}",
    forms={
        "intro": "one or more sentences", "answer": "one or more sentences", "summary": "one or more sentences",
        "turn": "ASK <name>: <question>, or SEARCH <place>",
        "rate": "<name>: suspicion <0-2>, trust <0-2>, one line for each of {names}", "vote": "VOTE <name>",
    },
    reasons={
        "empty": "there is no text.", "form": "it is not in the form asked for.",
        "name": "name exactly one of {names}.", "place": "search only one of: {places}.",
        "question": "there is no question.", "rating": "give two numbers from 0 to 2 for each of {names}.",
    },
    round="Round {k} of {n}.",
    stage="Stage {k} of {n}. {text}",
    now="What you know from now on (nobody else can read this)",
    says='{name} says: "{text}"',
    asks='{name} asks {target}: "{text}"',
    answers='{name} answers: "{text}"',
    silent="{name} says nothing.",
    passes="{name} lets the turn pass.",
    found="{name} searches {place} and finds: {text}",
    found_own="You search {place} and find: {text}",
    kept="{name} searches {place} and finds something that means nothing to the others.",
    private="You search {place} and find something that only you understand: {text}",
    memory="You remember (nobody else knows this): {text}",
    nothing="The turn passed without an action.",
    name_self="I am {name}.",
    suspect="I suspect {name}.",
    no_idea="I do not know yet.",
    question="What do you know about that evening?",
    fact="Of {who} I know this: {trait}, {value}.",
    ask="ASK {name}: {text}",
    search="SEARCH {place}",
    voted="VOTE {name}",
    rating="{name}: suspicion {s}, trust {b}",
    rating_joint="\n",
)  # fmt: skip

COMPACT = Phrasebook(
    comma=" ",
    you_are="You are {name}. People: {others}.",
    frame="Culprits: {n}.",
    rated=dict.fromkeys(("round", "turn", "never"), ""),
    background="{text}",
    special="{text}",
    yours="",
    sections=dict.fromkeys(("story", "script", "relationship", "performance", "purpose", "ability"), ""),
    goal="{text}",
    side={"culprit": "You did it.", "civilian": "You did not do it."},
    partners="With you: {names}.",
    intro="Intro?",
    turn="Turn? Ask: {names}.",
    places="Search: {places}.",
    no_places="Search: no.",
    answer='{asker} asks: "{question}"\nAnswer?',
    rate="Rate? {names}.",
    vote="Vote? {names}.",
    summarise="Sum up.",
    resumed='Before: "{text}"',
    correction="No. {reason}{form}",
    forms=dict.fromkeys(("intro", "answer", "turn", "rate", "vote", "summary"), "Try again."),
    reasons=dict.fromkeys(("empty", "form", "name", "place", "question", "rating"), ""),
    round="Round {k}.",
    stage="Stage {k}. {text}",
    now="",
    says='{name}: "{text}"',
    asks='{name} asks {target}: "{text}"',
    answers='{name}: "{text}"',
    silent="{name}: no.",
    passes="{name}: no.",
    found="{name} searches {place}. {text}",
    found_own="{text}",
    kept="{name} searches {place}.",
    private="Only you: {text}",
    memory="Only you: {text}",
    nothing="No.",
    name_self="I am {name}.",
    suspect="I suspect {name}.",
    no_idea="I do not know.",
    question="What do you know?",
    fact="{who} {trait} the {value}.",
    ask="Ask {name}: {text}",
    search="Search {place}.",
    voted="Vote {name}.",
    rating="{name} {s} {b}",
    rating_joint=" ",
)  # fmt: skip

ZH = Phrasebook(
    comma="、",
    you_are="你是{name}。你正和{others}一起玩一场谋杀之谜。",
    frame=(
        "规则：大家先作自我介绍，然后进行{rounds}轮。轮到你时，你要么向一名玩家提一个问题，要么调查一个地点；问题、回答和找到的线索"
        "所有人都能听到。{rated}最后全体投票。得票最多者是凶手，平民获胜；平票或其他情况，凶手获胜。"
        "凶手共{n}名。请始终扮演你的角色，按要求的格式回复，语言简短。"
    ),
    rated={"round": "每轮之后，你私下为其他人打分。", "turn": "每次行动之后，你私下为其他人打分。", "never": ""},
    background="案情\n{text}",
    special="这个世界的特殊规则\n{text}",
    yours="你的角色（只有你能看到）",
    sections={
        "story": "身世", "script": "你的经历与见闻", "relationship": "你眼中的其他人",
        "performance": "言行举止", "purpose": "你的目的", "ability": "你的能力",
    },
    goal="你自己的目标：{text}",
    side={
        "culprit": "你有罪。只要投票没有落在凶手头上，你就获胜。",
        "civilian": "你是无辜的。只要投票落在凶手头上，你就获胜。",
    },
    partners="你的同谋：{names}。",
    intro="请用几句话向大家介绍自己。只说你愿意让他们知道的。",
    turn="轮到你了：向一名玩家提一个问题，或者调查一个地点。只回复一行，格式为下面之一：\n询问【姓名】：问题\n"
    "调查【地点】\n可以询问：{names}。",
    places="还有线索的地点：{places}。",
    no_places="已经没有地点能让你找到新的东西，你只能询问。",
    answer="{asker}问你：“{question}”\n请用几句话回答。",
    rate="请为其他每个人打分，从0（完全没有）到2（非常）。每人一行：\n【姓名】：怀疑<0-2>，信任<0-2>\n需要打分：{names}。",
    vote="谁是凶手？只回复一行：\n投票【姓名】\n可以投给：{names}。",
    summarise="你的记录太长了。请用几句话总结所有重要的事：谁说了什么，找到了哪些线索，你怀疑谁，为什么。别人看不到这段话；"
    "从现在起，你只记得自己的总结。",
    resumed="你自己对之前一切的总结：“{text}”",
    correction="这条回复无效：{reason}请重新回复，只用这个格式：{form}",
    forms={
        "intro": "一句或几句话", "answer": "一句或几句话", "summary": "一句或几句话",
        "turn": "询问【姓名】：问题，或者 调查【地点】",
        "rate": "【姓名】：怀疑<0-2>，信任<0-2>，每人一行：{names}", "vote": "投票【姓名】",
    },
    reasons={
        "empty": "没有内容。", "form": "格式不对。", "name": "请只写一个名字：{names}。",
        "place": "只能调查：{places}。", "question": "没有问题。", "rating": "请为{names}每人写两个0到2的数字。",
    },
    round="第{k}轮，共{n}轮。",
    stage="第{k}幕，共{n}幕。{text}",
    now="你现在知道的（只有你能看到）",
    says="{name}说：“{text}”",
    asks="{name}问{target}：“{text}”",
    answers="{name}回答：“{text}”",
    silent="{name}没有说话。",
    passes="{name}放弃了这一回合。",
    found="{name}调查{place}，发现：{text}",
    found_own="你调查{place}，发现：{text}",
    kept="{name}调查{place}，找到了一样别人看不懂的东西。",
    private="你调查{place}，找到了只有你看得懂的东西：{text}",
    memory="你想起来了（别人不知道）：{text}",
    nothing="这一回合没有行动。",
    name_self="我是{name}。",
    suspect="我怀疑{name}。",
    no_idea="我还不知道。",
    question="那天晚上的事你知道些什么？",
    fact="关于{who}，我知道：{trait}，{value}。",
    ask="询问【{name}】：{text}",
    search="调查【{place}】",
    voted="投票【{name}】",
    rating="【{name}】：怀疑{s}，信任{b}",
    rating_joint="\n",
)  # fmt: skip

BOOKS = {("en", "prose"): EN, ("en", "compact"): COMPACT, ("zh", "prose"): ZH, ("zh", "compact"): ZH}


def phrasebook(language: str, register: str) -> Phrasebook:
    """Return the sentences of one language and register."""
    return BOOKS[language, register]
