"""Random ids and the two-word names of runs. Uses os.urandom alone: importing `uuid` and `random` would
cost more than the rest of a flow's start."""
from __future__ import annotations

import os

ADJECTIVES = """able agile amber ample apt aqua arctic ashen azure balmy bold brave breezy bright brisk bronze calm
candid careful charming cheerful chestnut chilly civil clever cobalt copper coral cosmic cosy crimson crisp curious
dainty daring dashing deft devout eager earnest elegant emerald fabulous fair famous fearless festive fine fleet
fluent fond frank free fresh friendly frosty gallant gentle gifted glad glossy golden graceful grand grateful
hardy harmonic hasty hazel helpful heroic honest humble indigo ivory jade jaunty jolly jovial joyful keen kind
lavender lively loyal lucid lucky lunar magenta mellow merry mighty mindful misty modest mossy muscular natural neat nimble
noble novel olive opal orange outgoing patient pearly perky placid plucky poised polite proud prudent purple quick
quiet radiant rapid ready refined robust rosy ruby rustic sandy sapphire scarlet serene sharp shiny silent silver
sincere smart snowy solar solid spirited spry stalwart steady stellar stoic sturdy subtle sunny swift tactful tan
tawny teal tender thrifty tidy topaz tranquil trusty turquoise upbeat valiant velvet vibrant vigilant violet vivid
warm wary wild wise witty worthy zealous zesty""".split()

ANIMALS = """aardvark albatross alpaca anteater antelope armadillo auk avocet badger bandicoot barracuda bat beagle bear
beaver bee beetle bison boar bobcat buffalo bull bustard buzzard camel capybara caribou cassowary cat caterpillar
cheetah chinchilla chipmunk clam cobra condor copperhead cormorant cougar coyote crab crane cricket crow cuckoo
curlew deer dingo dodo dolphin donkey dormouse dove dragonfly duck dugong eagle earthworm echidna eel egret elephant elk emu
ermine falcon ferret finch firefly flamingo flounder fox frog gannet gazelle gecko gerbil gibbon giraffe gnu goat
goldfinch goose gopher goshawk grouse gull hamster hare harrier hawk hedgehog heron herring hippo hornet horse
hound hummingbird hyena ibex ibis iguana impala jackal jackdaw jaguar jay jellyfish kangaroo kestrel kingfisher
kite kiwi koala kudu lark lemming lemur leopard limpet lion lizard llama lobster loon lorikeet lynx macaw magpie
manatee mandrill mantis marmot marten meerkat mink mole mongoose monkey moose mouse mule mussel narwhal newt
nightingale numbat ocelot octopus okapi opossum orangutan orca oriole osprey ostrich otter owl ox oyster panda
panther parrot partridge pelican penguin perch pheasant pigeon pike platypus plover polecat pony porcupine
porpoise puffin puma quail quokka rabbit raccoon raven reindeer rhino robin rook salamander salmon sandpiper
scallop seal seahorse serval shark sheep shrew shrike skink skunk sloth snail sparrow squid squirrel starfish stoat stork
sturgeon swallow swan swift tapir tarsier teal termite tern thrush tiger toad toucan trout tuna turkey turtle
viper vole vulture wallaby walrus warbler wasp weasel weevil whale wildcat wolf wolverine wombat woodcock
woodpecker worm wren yak zebra""".split()


def uuid4() -> str:
    """A random (version 4) UUID, lower case with dashes."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def slug() -> str:
    """A name for a run, such as `certain-cormorant`."""
    raw = int.from_bytes(os.urandom(8), "big")
    return f"{ADJECTIVES[raw % len(ADJECTIVES)]}-{ANIMALS[(raw >> 32) % len(ANIMALS)]}"


def fraction() -> float:
    """A random number from 0 to below 1."""
    return int.from_bytes(os.urandom(6), "big") / 2**48


def fingerprint(data: bytes) -> str:
    """md5 in hex, for naming and versioning, not for security."""
    try:
        from _md5 import md5  # type: ignore[import-not-found]

        return str(md5(data).hexdigest())
    except ImportError:
        import hashlib

        try:
            return hashlib.md5(data, usedforsecurity=False).hexdigest()
        except TypeError:  # a build whose hashlib lacks the flag
            return hashlib.md5(data).hexdigest()
