package api

import "strings"

// RunName returns a two-word name for a run, chosen by random, like "amber-heron". The same number gives the same name.
func RunName(random uint64) string {
	first := runAdjectives[random%uint64(len(runAdjectives))]
	second := runNouns[random/uint64(len(runAdjectives))%uint64(len(runNouns))]
	return first + "-" + second
}

var runAdjectives = strings.Fields(`
agile airy alert amber ample apt ardent auburn azure balmy bold brave breezy bright brisk bronze calm candid cheery
chestnut civil clever cobalt cool copper coral cosmic cozy crimson crisp curious dapper daring dashing deft dusky
eager early earnest ebony elated emerald fabled fair fearless fleet fluent fond frank fresh gallant gentle gilded glad golden
graceful grand hardy hazel honest humble indigo ivory jade jolly jovial keen kind lively lucid lucky lunar mellow
merry mighty mild misty modest mossy nimble noble olive opal placid plucky polite proud quick quiet rapid robust
ruby rustic sandy scarlet serene silver sleek smooth snowy solar spry stellar sturdy sunny swift tidy tranquil
umber upbeat velvet vivid warm wise witty zesty`)

var runNouns = strings.Fields(`
albatross alpaca antelope badger barracuda bat beaver bison bobcat bonobo buffalo buzzard camel caribou cat cheetah chinchilla
chipmunk cobra cod condor cougar coyote crab crane cricket crow deer dingo dolphin dove dragonfly duck eagle egret
elk emu falcon ferret finch firefly fox frog gazelle gecko gibbon giraffe gopher grouse gull hamster hare hawk
hedgehog heron herring hornet ibex ibis iguana impala jackal jaguar jay kestrel kingfisher kite koala lemming
lemur leopard lion lizard llama lobster lynx macaw magpie manatee marmot marten mink mole moose narwhal newt
ocelot octopus orca osprey otter owl panda panther parrot pelican penguin pheasant puffin puma quail rabbit raccoon raven
robin salmon seal shrew skunk sparrow squid stork swan tapir tern tiger toucan trout turtle viper vole walrus
weasel whale wolf wombat wren yak zebra`)
