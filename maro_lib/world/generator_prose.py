"""The words of generated mysteries in the register `prose`: lists and templates, no logic.

A key holds the ways to say one thing; `maro_lib.world.generator` chooses one and fills in the braces. Nothing here
gives a person a pronoun, and every noun of a value list follows "a" (a place: "the"), so that any choice is
grammatical with any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """One register: what things are called, how each thing is said, and which things make up a section."""

    names: tuple[str, ...]
    surnames: tuple[str, ...]
    victims: tuple[str, ...]
    settings: tuple[Mapping[str, str], ...]
    places: tuple[tuple[str, ...], ...]  # by setting
    values: Mapping[str, tuple[str, ...]]  # trait -> its values; those of `spot` are the places
    traits: Mapping[str, str]  # trait -> how facts call it
    why: Mapping[str, tuple[str, ...]]  # trait -> by value: why an innocent has it
    sources: tuple[str, ...]  # who says what a clue says, by variant
    phrases: Mapping[str, tuple[str, ...]]
    first: Mapping[str, Mapping[str, tuple[str, ...]]]  # faction -> section -> keys, at the start
    later: Mapping[str, Mapping[str, tuple[str, ...]]]  # the same for every later stage


NAMES = ("Adela", "Bertram", "Cecily", "Desmond", "Esther", "Felix", "Greta", "Hugo", "Irene", "Jasper", "Klara",
         "Leon", "Marian", "Nathan", "Odette", "Philip", "Rosa", "Silas", "Theodora", "Ulric", "Verena", "Walter",
         "Yvonne", "Zachary")  # fmt: skip

SURNAMES = ("Ashby", "Birch", "Calloway", "Dunmore", "Eastman", "Fairfax", "Grey", "Holloway", "Ingram", "Jessop",
            "Kettering", "Lockwood", "Marsh", "Norwood", "Oakes", "Pemberton", "Quill", "Rowland", "Sterling", "Thorne",
            "Underhill", "Vance", "Whitlock", "Yates")  # fmt: skip

VICTIMS = ("Sir Edmund Vale", "Madame Odile Roux", "Professor Anton Lindqvist", "Colonel Amos Pryce",
           "Lady Beatrix Hale", "Baron Otto Reuter", "Judge Miriam Coyle", "Captain Elias Drummond",
           "Doctor Agnes Moor", "Count Livio Ferrante")  # fmt: skip

SETTINGS = (
    {
        "house": "Harrow House",
        "opening": "Harrow House stands alone on the moor, a grey manor with more chimneys than servants.",
        "cutoff": "Fog has swallowed the only road, and nobody can leave before morning.",
    },
    {
        "house": "the Hotel Miramar",
        "opening": "The Hotel Miramar is closed for the winter, and the sea throws spray against its shutters.",
        "cutoff": "The storm has taken the bridge, and the telephone is dead.",
    },
    {
        "house": "the spa of Bellwether",
        "opening": "The spa of Bellwether has lost its guests, but its springs still steam in the dark.",
        "cutoff": "The last train has gone, and no carriage will come up the valley before noon.",
    },
    {
        "house": "the Sankt Veit observatory",
        "opening": "The Sankt Veit observatory lies above the snow line, where the wind never stops.",
        "cutoff": "An avalanche has closed the pass, and the rescue party will need a day.",
    },
    {
        "house": "the Orpheum theatre",
        "opening": "The Orpheum theatre has been dark for a year, but tonight its lamps are lit again.",
        "cutoff": "The doors were locked from inside, and the key has not been found.",
    },
    {
        "house": "Thornbury College",
        "opening": "Thornbury College is empty between terms, and every step echoes on its stones.",
        "cutoff": "The river has risen over the causeway, and the college is an island tonight.",
    },
    {
        "house": "the vineyard of Montclair",
        "opening": "The vineyard of Montclair has brought in its harvest, and the whole hill smells of must.",
        "cutoff": "The village is an hour away on foot, and no stranger was seen on the road.",
    },
    {
        "house": "the fishing station at Skarvik",
        "opening": "The fishing station at Skarvik clings to a rock between two fjords.",
        "cutoff": "The mail boat will not return before Thursday, and no other boat is seaworthy.",
    },
)

PLACES = (
    ("library", "conservatory", "wine cellar", "chapel", "stable", "kitchen", "attic", "billiard room", "laundry",
     "boathouse", "picture gallery", "gatehouse"),
    ("lobby", "ballroom", "linen room", "hotel bar", "winter garden", "boiler room", "bathhouse", "kitchen",
     "reading room", "cloakroom", "music room", "garage"),
    ("pump room", "steam bath", "reading room", "concert hall", "treatment room", "boiler room", "kitchen",
     "linen room", "solarium", "chapel", "pavilion", "smoking room"),
    ("dome", "archive", "darkroom", "workshop", "common room", "generator shed", "ice cellar", "map room", "greenhouse",
     "infirmary", "pantry", "bell tower"),
    ("wardrobe", "orchestra pit", "prop room", "box office", "scenery loft", "green room", "paint shop",
     "rehearsal room", "trap room", "foyer", "royal box", "lamp store"),
    ("refectory", "crypt", "cloister", "gate lodge", "laboratory", "choir school", "buttery", "museum", "bursary",
     "lecture hall", "boathouse", "herb garden"),
    ("press house", "barrel cellar", "drying loft", "cooperage", "tasting room", "dovecote", "chapel", "kitchen",
     "counting room", "coach house", "bottling hall", "seed store"),
    ("net loft", "salt house", "smokehouse", "ice house", "lighthouse", "chapel", "village shop", "cookhouse",
     "schoolroom", "boat shed", "oil store", "drying shed"),
)  # fmt: skip

VALUES = {
    "weapon": ("carving knife", "length of rope", "fire iron", "vial of arsenic", "hatchet", "revolver",
               "brass candlestick", "garden spade"),
    "garment": ("grey raincoat", "green scarf", "yellow waistcoat", "black cloak", "red shawl", "straw hat",
                "leather apron", "blue sash"),
    "sign": ("silver ring", "moonstone", "bone whistle", "cracked mirror", "tarot card", "glass bell"),
}  # fmt: skip

TRAITS = {"weapon": "thing in hand", "garment": "clothing", "spot": "whereabouts", "sign": "keepsake"}

WHY = {
    "weapon": (
        "borrowed to open a crate that would not give way",
        "because you had promised to tie up a broken trunk",
        "picked up to stir a dying stove",
        "bought against the rats and not yet put away",
        "taken along to split some kindling",
        "an heirloom that you had meant to show to a collector",
        "carried for its light, until the draught put the flame out",
        "left over from an errand in the grounds",
    ),
    "garment": (
        "since your own coat was still wet from the journey",
        "a present that you had promised to wear",
        "the only festive thing that you own",
        "against the draught that runs through every passage",
        "lent to you by a friend who knows how easily you freeze",
        "because a lost wager obliged you to",
        "to keep your good clothes clean",
        "as you always do on solemn occasions",
    ),
}

TOLD = {
    # --- everybody ---
    "title": ("The death of {victim}", "Who killed {victim}?", "The last evening of {victim}", "The case of {victim}"),
    "time": ("half past nine", "ten minutes to midnight", "a quarter past eight", "eleven at night", "half past ten",
             "a quarter to nine"),
    "occasion": ("to hear a new will read aloud", "to celebrate an anniversary", "to settle the sale of a collection",
                 "to end an old lawsuit by agreement", "to meet a buyer whom nobody had ever seen",
                 "to decide what should become of a common fund", "to prepare a concert for charity",
                 "to say goodbye before a long voyage", "to witness an experiment", "to divide an inheritance"),
    "killer_one": ("the culprit",),
    "killer_many": ("each of the culprits",),
    "death/0": ("stabbed with a carving knife",),
    "death/1": ("strangled with a length of rope",),
    "death/2": ("struck down with a fire iron",),
    "death/3": ("poisoned from a vial of arsenic",),
    "death/4": ("felled with a hatchet",),
    "death/5": ("shot with a revolver",),
    "death/6": ("struck down with a brass candlestick",),
    "death/7": ("struck down with a garden spade",),
    "background": (
        "{opening} {victim} had called all of you here {occasion}. At {time} a cry rang out, and {victim} was found "
        "dead in the {spot}, {death}. {cutoff} Three things were established within the hour and are known to all: "
        "{killer} had a {weapon}, wore a {garment}, and was in the {spot} at {time}. Nobody innocent had such a thing "
        "in hand, wore such a garment, or set foot in the {spot} at that hour.",
        "{opening} You were invited by {victim} {occasion}. {cutoff} At {time} the lights went out for a minute; when "
        "they came back, {victim} lay dead in the {spot}, {death}. So much is certain, and everybody knows it: "
        "{killer} had a {weapon}, wore a {garment}, and was in the {spot} at {time}. Of the innocent, nobody had or "
        "wore anything of the kind, and nobody was in the {spot}.",
        "{opening} The evening began well: {victim} had asked you all to come {occasion}. It ended at {time}, when "
        "{victim} was discovered in the {spot}, {death}. {cutoff} Before anybody went to bed, three facts were "
        "written down: {killer} had a {weapon}, {killer} wore a {garment}, and {killer} was in the {spot} at {time}. "
        "None of these three is true of anybody innocent.",
    ),
    "rule/weapon": (
        "The spirits of this place mock every witness: whoever holds a {sign} had a {weapon} at {time}, whatever "
        "anybody saw in that hand.",
        "An old charm lies on this place: whoever holds a {sign} had a {weapon} in hand at the hour of the murder, "
        "even if a hundred eyes saw something else there.",
    ),
    "rule/garment": (
        "Colours and cloth deceive here: whoever holds a {sign} wore a {garment} at {time}, whatever anybody saw.",
        "Cloth obeys a spell in this place: whoever holds a {sign} wore a {garment} at the hour of the murder, and "
        "what the others saw was an illusion.",
    ),
    "rule/spot": (
        "Distances lie here: whoever holds a {sign} was in the {spot} at {time}, wherever the others saw that person.",
        "A double walks in this place: whoever holds a {sign} was in the {spot} at the hour of the murder, and whoever "
        "was seen elsewhere under that name was only the double.",
    ),
    "stage/1": ("The first hours.",),
    "stage/2": ("After midnight.",),
    "stage/3": ("Grey morning.",),
    "stage/4": ("The last day.",),
    "narration_first": (
        "The body has been covered, the doors are shut, and all of you sit in one room. Somebody has to speak first.",
        "Candles are brought. You have counted one another twice, and nobody is missing but {victim}.",
    ),
    "narration": (
        "The clock strikes, and a window bangs in the wind. While you talked, more rooms were opened and more traces "
        "came to light.",
        "Nobody has slept. Somebody has gone through the drawers of {victim}, and new things lie where there was "
        "nothing before.",
        "The lamps burn low. A servant remembers something after all, and the search begins again.",
        "The weather turns, and with it the mood. Whoever kept silent until now has to expect questions.",
        "A message has come through at last: the police are on their way. What is not found soon will be lost.",
        "Breakfast stands untouched on the table. There are new finds, and fewer excuses.",
    ),
    # --- clues ---
    "clue/weapon": (
        "One of the staff swears that {who} had a {value} in hand at {time}.",
        "A sketch, dated that evening at {time}, shows {who} from behind, holding a {value}.",
        "A draft of a letter: I met {who} at {time}, and I could not take my eyes off what {who} held, a {value}.",
        "A line in the duty book: {time}, {who}, with a {value}.",
        "A child's diary, honest to the minute: it was {time}, and {who} carried a {value}.",
        "The night watch noted that at {time} {who} had a {value} and gave no reason for it.",
        "A blurred photograph from {time}: the face is that of {who}, and the thing in the hand is a {value}.",
        "A deaf old guest has written it down twice: {who} had a {value} at {time}.",
    ),
    "clue/garment": (
        "One of the staff helped {who} at {time} and remembers the clothes well: {who} wore a {value}.",
        "A pencil portrait of {who}, made at {time}, is careful about one detail: the sitter wears a {value}.",
        "A draft of a letter: at {time} I saw {who}, and who could forget that {value}?",
        "A line in the duty book: {time}, {who}, who wears a {value}.",
        "A child's diary, honest to the minute: it was {time}, and {who} wore a {value}.",
        "The night watch noted that {who} was wearing a {value} at {time}.",
        "A photograph taken at {time}: {who} looks away from the camera and wears a {value}.",
        "A seamstress has it in her notes: {who} wore a {value} at {time}, with a seam that needed mending.",
    ),
    "clue/spot": (
        "One of the staff swears to have seen {who} in the {value} at {time}.",
        "A sketch, dated that evening at {time}, shows {who} sitting in the {value}.",
        "A draft of a letter: I looked for {who} and found {who} in the {value}; it was {time}.",
        "A line in the duty book: {time}, light in the {value}, {who} is there.",
        "A child's diary, honest to the minute: it was {time}, and {who} was in the {value}.",
        "The night watch noted at {time} that {who} was in the {value}.",
        "A photograph taken at {time}: the room is the {value}, and the person in it is {who}.",
        "A deaf old guest has written it down twice: {who} was in the {value} at {time}.",
    ),
    "clue/sign": (
        "One of the staff has seen it more than once: {who} holds a {value} and never puts it down.",
        "A sketch of two hands, and below it: {who}, with a {value}.",
        "A draft of a letter: do you know what {who} keeps hidden? It is a {value}.",
        "A line in the duty book: {who} was asked to declare all valuables, and showed a {value}.",
        "A child's diary, honest to the letter: {who} let me touch a {value}, and it was cold.",
        "The night watch noted that {who} holds a {value} and turns it over and over.",
        "A photograph, enlarged until it is all grain: what {who} holds there is a {value}.",
        "A pawnbroker's receipt, refused at the last moment: {who} would not part with a {value}.",
    ),
    "herring/0": ("Before supper two voices were heard through a door: {who} and {other}, quarrelling over {thing}.",
                  "A note of one of the staff: {who} and {other} had words today, about {thing}."),
    "herring/1": ("An unpaid bill in the name of {who}, for {thing}, folded very small.",
                  "Somebody keeps accounts of other people's debts. One line is underlined: {who}, for {thing}."),
    "herring/2": ("One of the staff saw {who} on the stairs the day before, close to tears because of {thing}.",
                  "A page from a sketchbook: {who} at a window the day before, sad because of {thing}."),
    "herring/3": ("A note in the hand of {who}, meant for {other}, asks for a talk in private about {thing}.",
                  "A page of blotting paper. Held to a mirror it says that {who} wants to tell {other} about {thing}."),
    "herring/4": ("Here lies {thing} with the initials of {who}. It must have been lost the day before.",
                  "Under a cushion lies {thing}. It belongs to {who}, and the dust on it is a day old."),
    "herring/5": ("A smell of {thing} hangs in the air, and nobody can say where it comes from.",
                  "Something here smells of {thing}, but there is nothing else to be found."),
    "herring/6": ("A scrap of paper with nothing on it but {thing}.", "Somebody has scratched {thing} into the wood."),
    "herring/7": ("{thing}. It has nothing to tell.", "{thing}. Everybody bends over it, and nobody learns anything."),
    "thing/0": ("an old loan", "a broken promise", "a game of cards", "a photograph", "a seat at the table"),
    "thing/1": ("forty pounds", "the rent of two months", "a doctor's fee", "a crate of wine", "a new saddle"),
    "thing/2": ("a letter from home", "a lost post", "a failed examination", "an old song", "a broken engagement"),
    "thing/3": ("a plan for the spring", "an apology", "a family matter", "a recipe", "a journey abroad"),
    "thing/4": ("a pocket watch", "a handkerchief", "a fountain pen", "a prayer book", "a pair of spectacles"),
    "thing/5": ("cold tobacco", "wet dog", "lavender", "burnt milk", "turpentine"),
    "thing/6": ("a row of numbers", "half a poem", "a drawing of a bird", "the name of a racehorse", "a chess problem"),
    "thing/7": ("A wine stain in the shape of a boot", "A dead moth in a saucer", "A clock that runs backwards",
                "A single marble", "A mousetrap without a mouse"),
    "rumour/0": ("Before supper you quarrelled with {other} over {thing}.",),
    "rumour/1": ("There is an unpaid bill of yours, for {thing}, and you hope that nobody brings it up.",),
    "rumour/2": ("The day before you were close to tears because of {thing}, and somebody may have seen it.",),
    "rumour/3": ("You have asked {other} for a talk in private about {thing}; it has nothing to do with the murder.",),
    "rumour/4": ("Since the day before you have missed one thing of yours: {thing}.",),
    "rumour_with/0": ("Before supper you quarrelled with {who} over {thing}.",),
    "rumour_with/3": ("You know that {who} wants to talk to you in private about {thing}.",),
    # --- one character's sections at the start ---
    "profession": (
        "You are {name}, a country doctor with more patience than patients.",
        "You are {name}, a bookseller who has read nearly everything and sold very little.",
        "You are {name}, a retired officer who still rises at five.",
        "You are {name}, a painter of portraits, known for being too honest.",
        "You are {name}, a lawyer who prefers settlements to trials.",
        "You are {name}, a schoolteacher with a voice that carries across three rooms.",
        "You are {name}, an engineer who trusts drawings more than people.",
        "You are {name}, a singer whose best season was five years ago.",
        "You are {name}, a botanist back from two years in the tropics.",
        "You are {name}, a journalist with a notebook and a bad conscience.",
        "You are {name}, a watchmaker who hears at once when something is wrong.",
        "You are {name}, a dealer in antiques, half of them genuine.",
        "You are {name}, a pharmacist from a small town, careful to the gram.",
        "You are {name}, a translator who knows five languages and few people.",
        "You are {name}, a cook of some fame, proud and quickly offended.",
        "You are {name}, an actor between two engagements.",
    ),
    "bond": (
        "For eleven years you kept the accounts of {victim}, and you know what the estate is really worth.",
        "You grew up next door to {victim}, and half of your childhood happened in that garden.",
        "You and {victim} once owned a business together, until it failed and only one of you had savings left.",
        "You were the secretary of {victim} for a long winter, and you typed letters that you would rather forget.",
        "You met {victim} over a chessboard every Thursday, and you lost more often than you won.",
        "You are a distant cousin of {victim}, remembered at Christmas and forgotten at Easter.",
        "You taught {victim} to play the piano, late in life and with little success.",
        "You rented two rooms from {victim}, and you were never late with the rent but once.",
        "You were writing the life of {victim}, and the last chapter was giving you trouble.",
        "You bought and sold rare prints for {victim}, always for a small commission.",
        "You nursed {victim} through a fever four years ago, and you were thanked with a handshake.",
        "You were named godparent to a child of {victim} who died young, and you never spoke of it again.",
        "You served on a committee with {victim}, where the two of you agreed about nothing but the tea.",
        "You sailed with {victim} when you were both young, and you still owe each other a story or two.",
    ),
    "grudge": (
        "Last spring {victim} laughed at your life's work in front of strangers, and you have not slept well since.",
        "A promised recommendation was never written, and you lost the post that you had counted on.",
        "You had lent {victim} a sum that you could not spare, and every reminder was met with a smile.",
        "You believed that {victim} had opened your letters, though you could never prove it.",
        "A piece of land that should have been yours was sold by {victim} to a stranger.",
        "You were to be left out of the will, and you learned it by accident a week ago.",
        "{victim} had advised you to invest in a mine that turned out to be a hole in the ground.",
        "Years ago {victim} let you take the blame for a mistake that was not yours.",
        "You had asked {victim} for help when your sister was ill, and no answer ever came.",
        "You had come to ask for an apology, and you were made to wait for it all day.",
        "An invention of yours appeared under the name of {victim}, and your protest was ignored.",
        "You still admired {victim}, but you were tired of being treated like furniture.",
    ),
    "motive": (
        "{victim} had found the forged signature that paid for your house, and was going to report it on Monday.",
        "{victim} had ruined your brother, and you swore at the grave that the debt would be paid.",
        "{victim} had been drawing money from you for years, in exchange for silence about one night in your youth.",
        "A changed will would have taken from you everything that you were promised.",
        "{victim} had stolen your discovery and was to be honoured for it within the week.",
        "You had emptied an account that {victim} had put in your care, and the audit was set for tomorrow.",
        "{victim} had found the one witness to your worst hour, and asked a price that you could not pay.",
        "Long ago {victim} sent an innocent friend of yours to prison, and told the story as a joke.",
        "{victim} stood between you and the only person whom you ever wanted to marry.",
        "{victim} was about to sell the roof over your parents' heads, and would not listen.",
    ),
    "arrival": (
        "You reached {house} in the afternoon, later than planned, and {other} was the first to greet you.",
        "You came to {house} with one small case, and you shared the last stretch of the way with {other}.",
        "You were among the first at {house}, and you watched the others arrive one after another.",
        "You nearly turned back on the way to {house}; it was {other} who talked you into going on.",
        "You had been at {house} once before, years ago, and nothing seemed to have changed.",
        "You arrived at {house} tired and in a bad temper, and supper did little to mend it.",
        "When you reached {house}, {victim} shook your hand a moment longer than was needed.",
        "You spent the afternoon at {house} alone with a book of which you remember nothing.",
        "You came to {house} out of curiosity more than friendship, and you told {other} so.",
        "You and {other} walked around {house} before supper and talked about the weather.",
    ),
    "supper": (
        "At supper {victim} raised a glass to old debts, and nobody laughed.",
        "At supper the talk was of money, and {another} left the table before the cheese.",
        "Supper was served too late, and {another} hardly ate a thing.",
        "During supper {victim} received a note, read it twice, and put it into the fire.",
        "At supper you sat beside {another}, who asked more questions than were polite.",
        "Over supper {victim} promised a surprise for later in the evening, and would say no more.",
        "Supper was cheerful enough until {victim} asked who could be trusted at this table.",
        "At supper you said little and watched {another} build towers out of sugar lumps.",
    ),
    "hour": (
        "At {time} you were in the {spot}, where you wanted to be alone for a while. You wore a {garment}, "
        "{garment_why}. You had a {weapon} in hand, {weapon_why}.",
        "When it was {time} you were in the {spot}, looking for a paper that you thought you had left there. In your "
        "hand you had a {weapon}, {weapon_why}, and you wore a {garment}, {garment_why}.",
        "At {time} you were in the {spot}, counting the minutes until you could go to bed. You had a {weapon} with "
        "you, {weapon_why}. You wore a {garment}, {garment_why}.",
        "You remember the hour well. At {time} you were in the {spot}, thinking over what had been said at supper. You "
        "wore a {garment}, {garment_why}, and had a {weapon} in hand, {weapon_why}.",
        "Nobody was with you at {time}, when you were in the {spot} and tried to calm down. You wore a {garment}, "
        "{garment_why}. You had a {weapon} in hand, {weapon_why}.",
        "At {time} you were in the {spot}. You wore a {garment}, {garment_why}. You also had a {weapon} in hand, "
        "{weapon_why}. None of this seemed worth a thought then.",
        "You were in the {spot} at {time}, because a conversation had become too much for you. You had a {weapon} in "
        "hand, {weapon_why}, and you wore a {garment}, {garment_why}.",
    ),
    "saw": (
        "One thing you saw with your own eyes that evening, and you would swear to it: {sight}.",
        "There is something that you have told nobody yet, because you were not asked: {sight}.",
        "You are sure of one more thing, for you saw it yourself: {sight}.",
        "You noticed something that may matter to the others: {sight}.",
    ),
    "sight/weapon": ("{who} had a {value} in hand",),
    "sight/garment": ("{who} wore a {value}",),
    "sight/spot": ("{who} was in the {value} at {time}",),
    "sight/sign": ("{who} holds a {value}",),
    "cry": (
        "Then came the cry, and you ran with the others and saw what you can't forget.",
        "You heard the cry, stood still for a breath, and then followed the others.",
        "After the cry everybody spoke at once; you were glad not to be asked anything.",
        "When the cry came you thought of an accident, and you were slow to understand.",
    ),
    "deed": (
        "At {time} you were in the {spot}. You wore a {garment}, and you had a {weapon} in hand when {victim} turned "
        "around. There was no struggle. You killed {victim}, put everything back as it had been, and walked out "
        "without running.",
        "You had chosen the hour with care. At {time} you were in the {spot}, you wore a {garment}, and you had a "
        "{weapon} with you. {victim} recognised you and smiled. You killed {victim} all the same, and you were among "
        "the first to come back at the cry.",
        "You had not been certain until the last moment. At {time} you were in the {spot}, you wore a {garment}, and a "
        "{weapon} was in your hand. {victim} said one sentence too many, and you killed {victim}. Afterwards you "
        "listened at the door for a long time.",
    ),
    "together": (
        "You did not act alone. With you from the first day, beside you and armed as you were: {partners}.",
        "It was planned and done together with {partners}. Each of you had and wore the same and was there.",
    ),
    "held": (
        "You hold a {sign}, and nobody may learn of it, for the rules of this place would do the rest.",
        "Hidden on you is a {sign}. You hold it day and night, and it must not be found.",
    ),
    "decoy/weapon": ("Thanks to it, what the others saw in your hand was a {value}.",),
    "decoy/garment": ("Thanks to it, what the others saw you wear was a {value}.",),
    "decoy/spot": ("Thanks to it, the others believe that they saw you in the {value}.",),
    "relation": (
        "You like {other}, who once stood up for you when nobody else did. About {another} you are less sure: too "
        "polite, too well informed.",
        "You don't trust {other}, who always seems to know the end of your sentences. {another} makes you laugh, which "
        "is rare tonight.",
        "{other} reminds you of somebody you lost, and you are gentler there than you mean to be. {another} you avoid "
        "if you can.",
        "You have known {other} for years without learning anything that matters. {another} you met only yesterday and "
        "already respect.",
        "You owe {other} a favour, and you hate owing. {another} borrowed a book from you and never gave it back.",
        "You and {other} have agreed to disagree about everything. With {another} you share a taste for long silences.",
        "{other} talks too much for your taste, but means well. {another} watches people the way a cat watches birds.",
        "You suspect {other} of small lies, not of large ones. {another} has been kind to you since you arrived.",
        "You would like {other} to think well of you. What {another} thinks of you has stopped troubling you.",
        "You find {other} hard to read tonight. {another} seems shaken, more than you would have expected.",
    ),
    "manner": (
        "Speak slowly and in short sentences, and let others finish theirs.",
        "Be warm and talkative; when a question comes too close, tell a story instead.",
        "Be dry and exact. Correct small mistakes of others, politely.",
        "Speak with feeling, and use your hands. You apologise too often.",
        "Be courteous to everybody, and never answer with a plain yes or no.",
        "Joke when you are nervous, and grow quiet when you are angry.",
        "Speak like somebody used to giving orders. You don't like to be interrupted.",
        "Be shy at first. Once you are sure of something, say it and do not take it back.",
        "Ask questions back. You remember every word, and you quote people to their faces.",
        "Be calm and a little tired, as if you had seen all of this before.",
    ),
    "seek": (
        "Find out who killed {victim}. Compare what people say with what is found, and say openly what you know.",
        "You want the truth, for {victim} and for your own peace. Put the traces together and vote by them.",
        "You owe it to yourself to know. Trust what was found more than what is said, and share what you saw.",
        "Do not let the guilty sit back and wait. Ask about that hour, search, and speak up before the vote.",
        "You are innocent, and you want to leave this place with a clear name. Find the guilty before the vote.",
        "Look for traces of the three things that mark the guilty, and convince the others of what you find.",
        "Whatever you thought of {victim}, nobody deserved this. Help the others to find who did it.",
    ),
    "evade": (
        "Nobody may find out what you did. Sound helpful, cast doubt on others, and let the vote fall on an innocent.",
        "You must leave this place free. Never admit anything; lead the talk to the weak points of somebody else.",
        "Get through the vote. Say little about that hour, have a harmless story ready, and let the others quarrel.",
    ),
    "keeps": (
        "You also keep something to yourself: after supper you slipped away {secret}, and nobody may learn it.",
        "You have a secret besides. You left the table early {secret}, and you would be ashamed if it came out.",
    ),
    "secret": (
        "to burn a bundle of love letters", "to meet somebody whose name you will not give",
        "to look for money that you had hidden years ago", "to drink where nobody could see it",
        "to read papers that were not meant for you", "to practise a speech that you never dared to give",
        "to bury a dog that had died on the way", "to pray, which nobody would believe of you",
    ),
    # --- and at each later stage ---
    "since": (
        "Since then you have gone through the rooms twice. A drawer that was locked before now stands open, and "
        "nobody admits to having touched it. You put nothing into your pockets, so that nobody could accuse you later.",
        "You could not sleep, so you sat down and wrote out the evening hour by hour. Two of the lines you crossed "
        "out again, because you were no longer sure of them. The sheet is still in your pocket.",
        "You have helped to carry lamps from room to room. In the bad light everybody looked guilty, and you "
        "supposed that you did too. Nobody spoke more than was needed.",
        "For an hour you sat by the cold fireplace and listened to the steps above you. You counted them without "
        "wanting to. At some point they stopped outside your door, and then they went on.",
        "You washed your face, changed nothing about your clothes, and went back to the others. It seemed wiser to "
        "be seen than to be missed. The coffee had gone cold, and so had the talk.",
        "You stood at the window for a long time. Outside there was nothing to see, and behind you there was "
        "whispering that stopped whenever you turned around.",
        "You looked through the books and papers that {victim} had left lying about. Most of them were bills; one "
        "was a list of all your names, with a small cross beside each.",
        "You went to look at the {spot} once more, because it had been in your thoughts all this time. It was cold and "
        "empty. On the way back you had the feeling that somebody stood in the dark and let you pass.",
        "You made yourself useful, swept up some broken glass, and kept your ears open. People talk in front of "
        "somebody with a broom as if nobody were there.",
    ),
    "talk": (
        "{other} drew you aside and asked whether you were afraid. You said no, and you were both silent after that.",
        "{other} offered you a drink and wanted to know what you would say when it was your turn. You did not answer.",
        "You spoke with {other} about {victim}, and were surprised at how little either of you had really known.",
        "{other} came to you with a theory that had three holes in it. You listened to the end and promised nothing.",
        "You asked {other} straight out about that evening, and the answer came a little too quickly for your taste.",
        "{other} apologised to you for something said in anger, and you accepted without quite believing it.",
        "You found {other} alone on the stairs, and for a few minutes you talked about anything but the murder.",
        "{other} fell asleep in a chair beside you and woke with a start, and would not say what the dream had been.",
        "You caught {other} reading your face, and you stared back until both of you had to laugh.",
        "{other} told you a long story about a cousin in trouble, and you never learned what the point of it was.",
        "You and {other} carried a heavy table out of the way, and it did you both good to have something to do.",
        "{other} whispered that it would soon be over. You have been wondering since what was meant by that.",
    ),
    "memory": (
        "A memory of {victim} came back to you: a hand on your shoulder, and a warning not to trust charming people.",
        "You remembered how {victim} used to hum while reading other people's mistakes aloud.",
        "You thought of the last time that {victim} and you had parted as friends. It was longer ago than you knew.",
        "It came to you that {victim} had seemed frightened for weeks, and that you had not asked why.",
        "You caught yourself talking to {victim} in your thoughts, as if the quarrel could still be ended.",
        "You thought of the empty chair of {victim} at the table, and of how nobody had dared to move it.",
        "A smell of ink and soap brought {victim} back to you, so clearly that you had to sit down.",
        "You asked yourself what {victim} would have said of all of you tonight, and you almost smiled.",
        "You recalled a sentence of {victim}: everybody has a price, and most people name it too early.",
    ),
    "aside": (
        "For a while nobody said a word, and you listened to the clock. You have never found so little comfort in the "
        "company of others.",
        "Somebody had opened a window, and you were grateful for the cold. It is easier to think when one is awake.",
        "You caught a few words that were not meant for you. They may mean nothing, but you have kept them in mind.",
        "When the others began to quarrel over the best chair, you gave up yours. You preferred to stand anyway.",
        "You went over your own answers again and found one that could be misunderstood. You mean to put it right.",
        "There was a moment when everybody looked at you at once. You held still, and after a breath it was over.",
        "You have begun to count who sits next to whom, and who no longer does. It tells you more than the talk.",
        "Your hands were not quite steady when you lit a lamp. You put it down to the hour, and so did the others.",
        "You tried to eat something and gave up. It is strange how loud a spoon can be when nobody speaks.",
    ),
    "relation_later": (
        "{another} has been avoiding your eyes; you can't say whether from guilt or from grief.",
        "You begin to think better of {another}, who is the only one to ask how you feel.",
        "{another} contradicted you in front of all the others, and you have not forgotten it.",
        "You noticed that {another} repeats your words to others, slightly changed.",
        "With {another} you have exchanged a look or two; it helps to know that somebody else is counting.",
        "{another} laughs at the wrong moments, as people do who have not slept.",
        "You have the feeling that {another} would like to tell you something, if only you were alone.",
        "Since the murder {another} has grown small and quiet, and you keep an eye on that.",
        "{another} thanked you for a kindness that you don't remember, and it has made you curious.",
        "You would not play cards with {another} tonight: that face gives nothing away.",
        "{another} has asked the best questions so far, and you wonder where they come from.",
        "{another} seems to be waiting for something, and it makes you uneasy.",
    ),
    "manner_later": (
        "You are tired now, and you show it: shorter answers, longer pauses.",
        "You have become more direct. You interrupt when something does not fit.",
        "Your voice is steadier than before; the worst of the shock has passed.",
        "You are on edge. A noise makes you start, and you hide it with a remark.",
        "You speak more softly than at the beginning, and people lean in to hear you.",
        "You keep your sentences short, as if each of them cost money.",
        "You have begun to look people in the eye for longer than they like.",
        "You talk more than you did before, to keep the silence away.",
        "You have stopped being polite for its own sake, but you are not unkind.",
    ),
    "seek_later": (
        "Time is short. Ask about what was newly found, and say whom you suspect and for what reason.",
        "Hold what you have heard against what has been found, and do not let the loudest voice decide.",
        "Search where nobody has searched yet, and bring every trace before the others.",
        "Make up your mind before the vote, and win over at least one who is still in doubt.",
    ),
    "evade_later": (
        "They are coming closer. Give them somebody else to look at, and stay as calm as you have been.",
        "Hold your story together. Agree with whoever suspects the wrong person, but never be the first.",
        "Every question spent on nothing is a gain for you. Keep them talking until the vote.",
    ),
    # --- aims and ends ---
    "goal_find": ("The vote falls on somebody who is guilty.",),
    "goal_hide": ("One trace of you must not be found before the vote: {clue}",),
    "goal_clear": ("You yourself are not the one who is accused in the end.",),
    "goal_escape": ("The vote does not fall on anybody guilty.",),
    "caught": (
        "The votes are counted, and they fall on the guilty. {killers} did it, and nobody can say otherwise.",
        "There is a silence after the count, and then a confession. {killers} killed {victim}, and justice is done.",
    ),
    "escaped": (
        "The votes miss the guilty. {killers} killed {victim}, and within a week nobody in this company will be found "
        "who can prove it.",
        "The wrong decision is made, and by the time it is understood, {killers} can no longer be reached.",
    ),
    "no_majority": ("No majority is found. The company parts in suspicion, and it never meets again.",),
    "blamed": ("{name} is accused and led away, innocent of the murder but no longer able to hide a secret.",),
    "truth": (
        "At {time}, in the {spot}, {killers} killed {victim}. The {weapon} and the {garment} prove it, and nobody "
        "innocent was there.",
        "It was {killers} who killed {victim}. The {weapon}, the {garment} and the {spot} at {time} fit nobody else.",
    ),
    "and": (" and ",),
}  # fmt: skip

_CIVIL = {
    "story": ("profession", "bond", "grudge"),
    "script": ("arrival", "supper", "hour", "saw", "cry", "rumour"),
    "relationship": ("relation",),
    "performance": ("manner",),
    "purpose": ("seek", "keeps"),
}
_GUILTY = {
    "story": ("profession", "bond", "motive"),
    "script": ("arrival", "supper", "deed", "held", "rumour"),
    "relationship": ("together", "relation"),
    "performance": ("manner",),
    "purpose": ("evade",),
}
_LATER = {
    "script": ("since", "talk", "memory", "aside"),
    "relationship": ("relation_later",),
    "performance": ("manner_later",),
}

PROSE = Words(
    names=NAMES, surnames=SURNAMES, victims=VICTIMS, settings=SETTINGS, places=PLACES, values=VALUES, traits=TRAITS,
    why=WHY, sources=("",), phrases=TOLD,
    first={"civilian": _CIVIL, "culprit": _GUILTY},
    later={"civilian": _LATER | {"purpose": ("seek_later",)}, "culprit": _LATER | {"purpose": ("evade_later",)}},
)  # fmt: skip
