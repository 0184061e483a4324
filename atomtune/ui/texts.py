"""The words of the page, in one place."""

TITLE = "atomtune"
INTRODUCTION = "Teach Stable Diffusion a thing from a few photos. The command line knows all of this too."
TABS = {"teach": "Teach", "try": "Try", "compare": "Compare", "library": "Library", "health": "Health"}

ADVANCED = "More options"
YES, NO = "on", "off"
ONE_A_LINE = " One on each line."

# Teach
NAME = "Name of the concept"
NAME_INFO = "Letters and digits, as mug or my-dog. <mug> stands for it in prompts."
NOUN = "Class noun"
NOUN_INFO = "What kind of thing it is, as cup or dog; the name itself where this is empty."
UPLOAD = "Images: drop 4 to 9 photos here"
THING = "Or take a thing of pocket's world"
THING_KIND = "Kind of thing"
THING_NUMBER = "Which one of it"
THING_BUTTON = "Use its images"
LOOK = "Show what training sees"
SEEN = "What training sees"
CAPTION = "Caption of {name}"
SAVE_CAPTION = "Save"
REMOVE = "Delete {name}"
START = "Start"
START_AGAIN = "Start again"
STOP = "Stop"
RESUME = "Resume"
RUN = "Run"
RUN_INFO = "Any run in this folder, whoever began it."
LOSS = "Loss"
PREVIEWS = "Images while training"
NO_RUNS = "Nothing has been taught here yet."
COMMAND = "The same in a shell"
NOT_SAVED_YET = "no checkpoint yet"

# Try
PROMPT = "Prompt"
PROMPT_INFO = "<name> stands for a concept. Several prompts: one on each line."
CONCEPT = "Concept"
SCALE = "Scale"
MORE_CONCEPTS = "More concepts"
STEP = "Step"
STEP_INFO = "Atoms as they were after this step; empty for the last."
GENERATE = "Generate"
IMAGES = "Images"
SETTINGS = "Settings of the chosen image"
CHOOSE_IMAGE = "Click an image to see its settings and put them back into the form."
GRID = "Steps × scales"
GRID_SCALES = "Scales"
GRID_SCALES_INFO = "Numbers with commas between them."
GRID_BUTTON = "Generate the sheet"
GRID_SHEET = "Sheet of steps and scales"

# Compare
RUNS = "Runs"
FIGURES = "Figures"
CURVES = "Loss"
CHECKPOINTS = "Checkpoints"
EVALUATE = "Evaluate"
EVALUATE_RUN = "Run to evaluate"
METHODS = "Compare methods"
METHODS_BUTTON = "Train and compare"
REPORT = "Report"
PICK = "Try this checkpoint"
PICK_STEP = "Checkpoint"
NO_FIGURES = "No run here has been evaluated yet."

# Library
LEARNED = "What has been learned"
DETAILS = "Concept"
DOWNLOAD = "Download the atoms file"
EXPORT = "Export for other programs"
EXPORT_BUTTON = "Export"
EXPORTED = "Exported files"
PUBLISH = "Publish"
PUBLISH_BUTTON = "Publish"
PUBLISH_SURE = "I want this to leave this machine"
DELETE = "Delete"
DELETE_NAME = "Type the name of the concept to delete it"
DELETE_INFO = "Deletes what atomtune wrote into its run: atoms, checkpoints, samples, reports. Your images stay."
DELETE_BUTTON = "Delete for good"

# Health
HEALTH_BUTTON = "Check the installation"
HEALTH = "What doctor says"
HEALTH_WAIT = "Looking at the packages, this takes some seconds."

# Queue
QUEUE = "Jobs"
QUEUE_EMPTY = "No jobs yet."
QUEUE_STOP = "Stop this job"
QUEUE_CHOICE = "Job"
STATES = {
    "queued": "waits",
    "running": "runs",
    "done": "done",
    "stopped": "stopped",
    "failed": "failed",
    "saved": "saved, not finished",
    "none": "not begun",
}

NO_GRADIO = "atomtune ui needs the package gradio"
NO_GRADIO_HINT = 'pip install "atomtune[ui]"'

REPLACE = "Replace what atomtune wrote there"
METHODS_CONCEPT = "Its images are in concepts/NAME; NAME=NOUN where the class noun is another word."
METHODS_INFO = "Variants with commas between them, as atoms:c2,lora:attention,full."
