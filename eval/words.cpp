#include "eval/words.hpp"

#include "kernels/base/error.hpp"

namespace longreach::eval {
namespace {

// clang-format off
constexpr std::string_view kAdjectives[] = {
    "able", "absent", "acid", "agile", "amber", "ample", "ancient", "annual", "arctic", "aware",
    "azure", "basic", "bitter", "blank", "blunt", "bold", "brass", "brave", "brief", "bright",
    "brisk", "broad", "bronze", "burly", "calm", "candid", "careful", "casual", "central", "cheap",
    "cheerful", "chief", "chilly", "civil", "clean", "clear", "clever", "close", "coarse", "cold",
    "common", "compact", "complex", "cool", "copper", "coral", "cordial", "cosmic", "costly",
    "cozy", "crimson", "crisp", "cruel", "cubic", "curious", "curly", "daily", "damp", "daring",
    "dark", "dear", "deep", "dense", "dim", "direct", "distant", "double", "dry", "dull", "dusty",
    "eager", "early", "earnest", "east", "easy", "edible", "elastic", "elegant", "empty", "equal",
    "exact", "extra", "faint", "fair", "famous", "fancy", "fast", "fatal", "feeble", "fertile",
    "final", "fine", "firm", "flat", "fluent", "fond", "formal", "fragile", "frank", "free",
    "frequent", "fresh", "frosty", "frozen", "full", "funny", "gentle", "giant", "glad", "global",
    "glossy", "golden", "good", "grand", "grave", "gray", "great", "green", "grim", "grumpy",
    "guilty", "handy", "happy", "hard", "harsh", "hasty", "hazel", "heavy", "hidden", "hollow",
    "honest", "hot", "huge", "humble", "humid", "icy", "ideal", "idle", "inner", "ivory", "jolly",
    "joyful", "juicy", "keen", "kind", "large", "late", "lavish", "lazy", "lean", "level", "light",
    "likely", "linear", "little", "lively", "local", "lonely", "long", "loose", "loud", "low",
    "loyal", "lucky", "lunar", "magic", "major", "marble", "mature", "meek", "mellow", "merry",
    "mighty", "mild", "minor", "misty", "mobile", "modern", "modest", "moist", "moral", "mossy",
    "muddy", "mute", "narrow", "native", "neat", "nervous", "new", "nimble", "noble", "noisy",
    "normal", "north", "odd", "old", "open", "orange", "outer", "oval", "pale", "patient",
    "perfect", "petty", "plain", "playful", "polar", "polite", "poor", "private", "proud", "public",
    "pure", "purple", "quaint", "quick", "quiet", "rapid", "rare", "raw", "ready", "red", "remote",
    "rich", "rigid", "ripe", "robust", "rosy", "rough", "round", "royal", "ruby", "rude", "rural",
    "rusty", "sad", "safe", "salty", "sandy", "scarce", "scarlet", "secret", "serious", "severe",
    "shallow", "sharp", "shiny", "short", "shy", "silent", "silky", "silver", "simple", "sincere",
    "sleepy", "slender", "slim", "slow", "small", "smart", "smooth", "snowy", "sober", "soft",
    "solar", "solid", "solitary", "sour", "south", "spare", "sparse", "spicy", "spiral", "square",
    "stable", "stale", "steady", "steep", "stern", "sticky", "stiff", "still", "stormy", "strange",
    "strict", "strong", "stubborn", "sturdy", "subtle", "sudden", "sunny", "super", "sweet",
    "swift", "tall", "tame", "tart", "tender", "tense", "thick", "thin", "thirsty", "tidy", "tight",
    "tiny", "tired", "tough", "tranquil", "true", "twin", "upper", "urban", "urgent", "useful",
    "vacant", "vague", "valid", "vast", "velvet", "violet", "vital", "vivid", "warm", "wary",
    "weak", "wealthy", "weary", "west", "wet", "white", "whole", "wide", "wild", "windy", "wise",
    "witty", "wooden", "young", "zesty",
};

constexpr std::string_view kNouns[] = {
    "acorn", "actor", "album", "alley", "almond", "anchor", "angle", "ankle", "answer", "anvil",
    "apple", "apron", "arch", "arrow", "artist", "ash", "attic", "aunt", "author", "autumn",
    "badge", "bakery", "balcony", "ball", "bamboo", "banana", "bandit", "banjo", "bank", "banner",
    "barge", "barn", "barrel", "basin", "basket", "beach", "beacon", "bead", "beam", "bean", "bear",
    "beard", "beaver", "bed", "bee", "beetle", "bell", "belt", "bench", "berry", "bicycle", "bird",
    "biscuit", "blade", "blanket", "blossom", "board", "boat", "bone", "bonnet", "book", "boot",
    "border", "bottle", "bowl", "box", "bracelet", "brain", "branch", "bread", "breeze", "brick",
    "bridge", "brook", "broom", "brother", "brush", "bubble", "bucket", "budget", "buffalo", "bug",
    "builder", "bulb", "bundle", "bus", "bush", "butcher", "butter", "button", "cabin", "cable",
    "cactus", "cage", "cake", "calendar", "camel", "camera", "camp", "canal", "candle", "candy",
    "canoe", "canvas", "cape", "captain", "caravan", "card", "carpet", "carrot", "cart", "castle",
    "cat", "cave", "cedar", "ceiling", "cellar", "chain", "chair", "chalk", "chapel", "chapter",
    "cheese", "cherry", "chess", "chest", "chicken", "chimney", "church", "cider", "circle",
    "circus", "city", "clay", "cliff", "clock", "cloth", "cloud", "clover", "coach", "coal",
    "coast", "coat", "cobra", "coconut", "coffee", "coin", "collar", "comet", "compass", "cook",
    "corn", "corner", "cottage", "cotton", "cougar", "cousin", "cow", "crab", "cradle", "crane",
    "crate", "crater", "crayon", "creek", "cricket", "crow", "crown", "crystal", "cup", "curtain",
    "cushion", "dagger", "dairy", "daisy", "dancer", "dawn", "deer", "desert", "desk", "diamond",
    "dinner", "doctor", "dog", "doll", "dolphin", "donkey", "door", "dove", "dragon", "drawer",
    "dream", "dress", "driver", "drum", "duck", "dune", "dust", "eagle", "earth", "easel", "echo",
    "editor", "eel", "egg", "elbow", "elephant", "elk", "ember", "engine", "envelope", "evening",
    "eye", "factory", "falcon", "family", "farm", "farmer", "feather", "fence", "fern", "ferry",
    "festival", "fiddle", "field", "fig", "finger", "fire", "fish", "flag", "flame", "flask",
    "flood", "floor", "flower", "flute", "foam", "fog", "forest", "fork", "fort", "fossil",
    "fountain", "fox", "frame", "friend", "frog", "fruit", "funnel", "galaxy", "gallery", "garage",
    "garden", "garlic", "garment", "gate", "gazelle", "gem", "geyser", "ghost", "ginger", "giraffe",
    "glacier", "glass", "globe", "glove", "goat", "goose", "grape", "grass", "gravel", "grove",
    "guard", "guest", "guide", "guitar", "gull", "hammer", "hammock", "hamster", "harbor", "harp",
    "harvest", "hat", "hawk", "hay", "hedge", "helmet", "hen", "herb", "heron", "hill", "hinge",
    "hive", "hobby", "holiday", "honey", "hook", "horn", "horse", "hotel", "hour", "house", "hut",
    "ice", "idea", "igloo", "ink", "inn", "insect", "iron", "island", "jacket", "jaguar", "jar",
    "jasmine", "jelly", "jewel", "jockey", "journal", "journey", "judge", "jug", "jungle",
    "kangaroo", "kayak", "kennel", "kettle", "key", "kitchen", "kite", "kitten", "knee", "knife",
    "knight", "knot", "koala", "label", "lace", "ladder", "lagoon", "lake", "lamb", "lamp",
    "lantern", "lark", "laundry", "lawn", "lawyer", "leaf", "leather", "ledge", "lemon", "lens",
    "leopard", "letter", "lever", "library", "lid", "lilac", "lily", "lime", "linen", "lion",
    "lizard", "llama", "lobster", "locket", "lotus", "lumber", "lunch", "lute", "magnet", "magpie",
    "mango", "mansion", "map", "maple", "market", "mask", "mast", "mat", "meadow", "meal", "medal",
    "melon", "member", "meteor", "mill", "miner", "mint", "mirror", "mitten", "moat", "mole",
    "monk", "monkey", "moon", "morning", "mosaic", "moss", "moth", "motor", "mountain", "mouse",
    "mouth", "muffin", "museum", "mushroom", "music", "mustard", "nail", "napkin", "neck",
    "necklace", "needle", "nephew", "nest", "net", "nickel", "niece", "night", "noodle", "nose",
    "notebook", "nurse", "nut", "oak", "oar", "oasis", "oat", "ocean", "octopus", "office", "olive",
    "onion", "opal", "opera", "orbit", "orchard", "orchid", "organ", "ostrich", "otter", "oven",
    "owl", "oyster", "paddle", "page", "pail", "paint", "palace", "palm", "panda", "panel",
    "panther", "paper", "parade", "parcel", "park", "parrot", "path", "peach", "peacock", "peanut",
    "pear", "pearl", "pebble", "pelican", "pen", "pencil", "penguin", "pepper", "phone", "photo",
    "piano", "picnic", "pie", "pigeon", "pillow", "pilot", "pine", "pipe", "pirate", "planet",
    "plank", "plant", "plate", "plaza", "plow", "plum", "pocket", "poem", "poet", "pond", "pony",
    "poppy", "porch", "port", "potato", "pottery", "prairie", "prince", "prism", "puddle", "pump",
    "pumpkin", "puppet", "puppy", "puzzle", "pyramid", "quail", "quarry", "quartz", "queen",
    "quill", "quilt", "quiver", "rabbit", "raccoon", "radio", "radish", "raft", "rail", "rain",
    "rainbow", "raisin", "ranch", "raven", "razor", "recipe", "reed", "reef", "ribbon", "rice",
    "riddle", "ring", "river", "road", "robe", "robin", "robot", "rock", "rocket", "roof", "room",
    "rope", "rose", "rudder", "rug", "ruler", "saddle", "sail", "sailor", "salad", "salmon", "salt",
    "sand", "sandal", "satchel", "sauce", "saucer", "scarf", "school", "scissors", "scooter",
    "scout", "sea", "seal", "season", "seed", "shadow", "shark", "sheep", "shelf", "shell",
    "shepherd", "shield", "ship", "shirt", "shoe", "shore", "shovel", "singer", "sister", "skate",
    "ski", "skirt", "sky", "sled", "sleeve", "slipper", "smoke", "snail", "snake", "snow", "soap",
    "sock", "sofa", "soil", "soldier", "song", "soup", "sparrow", "spear", "spider", "spinach",
    "sponge", "spoon", "spring", "squash", "squid", "squirrel", "stage", "stair", "stamp", "star",
    "statue", "steam", "stem", "stew", "stick", "stone", "stool", "store", "stork", "storm",
    "stove", "straw", "stream", "street", "string", "student", "sugar", "suit", "summer", "sun",
    "supper", "swallow", "swan", "sweater", "sword", "table", "tailor", "tank", "tea", "teacher",
    "temple", "tent", "theater", "thimble", "thistle", "thorn", "thread", "throne", "thumb",
    "thunder", "ticket", "tide", "tiger", "timber", "toad", "toast", "tomato", "tooth", "torch",
    "tortoise", "towel", "tower", "town", "toy", "tractor", "trail", "train", "tray", "treasure",
    "tree", "trumpet", "trunk", "tulip", "tunnel", "turkey", "turnip", "turtle", "twig", "uncle",
    "valley", "van", "vase", "vault", "veil", "vest", "village", "vine", "vineyard", "violin",
    "visitor", "voice", "volcano", "voyage", "wagon", "waiter", "wall", "wallet", "walnut",
    "walrus", "wasp", "watch", "water", "wave", "wax", "weasel", "weaver", "well", "whale", "wharf",
    "wheat", "wheel", "whisper", "whistle", "willow", "wind", "window", "wing", "winter", "wolf",
    "woman", "wood", "wool", "word", "worker", "world", "worm", "wreath", "writer", "yacht", "yard",
    "yarn", "year", "zebra", "zipper",
};
// clang-format on

std::string compound(std::string_view adjective, std::string_view noun) {
  return fmt::format("{}-{}", adjective, noun);
}

}  // namespace

std::span<const std::string_view> adjectives() { return kAdjectives; }

std::span<const std::string_view> nouns() { return kNouns; }

std::string random_compound(Random& random) {
  const std::string_view adjective = random.pick(adjectives());
  return compound(adjective, random.pick(nouns()));
}

std::vector<std::string> different_words(Random& random, std::size_t n) {
  std::vector<std::string> words;
  if (n <= adjectives().size() + nouns().size()) {
    words.assign(adjectives().begin(), adjectives().end());
    words.insert(words.end(), nouns().begin(), nouns().end());
  } else {
    for (const std::string_view adjective : adjectives()) {
      for (const std::string_view noun : nouns()) words.push_back(compound(adjective, noun));
    }
  }
  if (words.size() < n) {
    base::input_error("--lengths: the text needs {} different words, there are {}", n,
                      words.size());
  }
  random.shuffle(words);
  return words;
}

}  // namespace longreach::eval
