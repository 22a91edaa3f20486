"""Images from scene graphs: masked contrastive graph pre-training and latent diffusion, taught in notebooks

Modules:

- `sgdiff.app.address`: A graph, its seed and its settings stand in the address of the page: a link to share, and to come back to.
- `sgdiff.app.background`: A thread that always works on the newest wish and drops the older ones; and a letter box through which its news reaches the notebook safely.
- `sgdiff.app.choice`: An experiment is a choice of a few numbers. Written down as data, it is a form, a command and a full-size run at once.
- `sgdiff.app.editor`: Change one relation with the mouse, and see within a second or two what it does to the picture, to the judge's verdict, and to where the model looks.
- `sgdiff.app.kernels`: Each open page of the app is a process; all of them are copies of one that has read PyTorch and the weights already, so they come at once and share its memory.
- `sgdiff.app.live`: A run in a thread that says how it is doing, stops at a word, goes on to the same weights, and hands over its model at any moment.
- `sgdiff.app.model`: All that editing a scene graph means - adding, renaming, relating, removing, undoing - in one object that knows nothing of windows, mice or notebooks.
- `sgdiff.app.onnx_graphs`: The four networks of a pipeline become four files that need no PyTorch: a browser can run them.
- `sgdiff.app.page`: One command makes a folder with a page that draws from scene graphs: in any browser, on a phone, with nothing installed and nobody asked.
- `sgdiff.app.picture_files`: A PNG that says which graphs it shows, as they were written and as they were drawn, and by which weights; many graphs on several pages.
- `sgdiff.app.pictures`: From a graph and a few settings to a row of pictures, with what the judge finds in each and where each word of the graph was looked at.
- `sgdiff.app.retrain`: Switch a loss off, press Start, and watch what the model loses: curves, retrieval, the flip test and pictures, live, in minutes.
- `sgdiff.app.views`: A board to point at and a plain form to fill in, both on the same model; and a view of pictures that answers the pointer without asking the kernel.
- `sgdiff.cli`: One command for each thing one does with a scene graph: draw it, edit it, train on it, measure it.
- `sgdiff.core`: Small tools that every later notebook uses: seeds, shapes, pictures and weights.
- `sgdiff.errors`: One error for what the user can mend, and files that are written whole or not at all.
- `sgdiff.evidence.ablate`: One command for each table: in minutes with `--quick`, in hours without; stopped, it goes on where it was.
- `sgdiff.evidence.composition`: A training that shows each thing on one side only, and one that shows it on both: which of them can tell, and draw, what it has never seen?
- `sgdiff.evidence.composition_table`: Two dials of a training, one collapse and three ways out: what came out.
- `sgdiff.evidence.conditioning`: The same denoiser reads a bag of words, a layout of boxes, or the tokens of a graph encoder; each draws the same graphs from the same noise, and one judge looks at all the pictures.
- `sgdiff.evidence.conditioning_table`: A bag of words, a layout, an encoder that is random, trained along, or pre-trained on one loss or both: whose pictures obey their graphs?
- `sgdiff.evidence.defects`: Our training of the graph encoder with exactly one defect of the official code in it, and what the encoder that comes out has lost.
- `sgdiff.evidence.defects_table`: Each defect that can be shown in our small world, mended and not mended, with what it costs.
- `sgdiff.evidence.encoders`: The same encoder trained on one loss or the other or both, with and without hard negatives, with and without relations: and each asked the same questions, whose answers are kept one by one.
- `sgdiff.evidence.full_marks_table`: Each fact of a graph may be drawn well, and the picture still not be right: how often is everything there, and is that what the single facts would make one expect?
- `sgdiff.evidence.global_local_table`: The local tokens of one graph, the global token of another: which of the two does the picture follow?
- `sgdiff.evidence.heads_table`: Heads of attention are switched off, and tokens are moved from one graph into another: which of them make a sheep look at a tree?
- `sgdiff.evidence.manipulation_table`: A graph is changed and the same noise drawn again: is the change there, is the rest as it was, and do two pictures of one graph differ at all?
- `sgdiff.evidence.parts`: A part is a table and the claims it is asked about. Every cell is one training; it is kept as soon as it is done, and results of different code never stand in one file.
- `sgdiff.evidence.retrieval_table`: Contrastive, masked, or both; with relations or without; with hard negatives or without. Which way finds its pictures, which one knows what was turned round, and how sure are we?
- `sgdiff.evidence.speed`: A whole training from nothing, a clock that stands still while we look, and a goal: how many minutes of a processor does a recipe take?
- `sgdiff.evidence.speed_table`: How many minutes of a processor from nothing to pictures that obey their graphs, and what has each change of the recipe won?
- `sgdiff.evidence.statistics`: Two trainings differ even when nothing but the seed does. An interval says how much of a difference that explains.
- `sgdiff.folders`: Three promises about a folder as a whole: what a file names lies inside it, its files are the ones that were written, and one program writes into it at a time.
- `sgdiff.full.commands`: `sgdiff train --data`, `sgdiff plan` and `sgdiff evaluate --data`: the options, and what they set going.
- `sgdiff.full.feeding`: A batch that may be cut into parts, prepared while the one before is computed, from images that lie on a disk.
- `sgdiff.full.losses`: Both stages once more, written so that a batch may be cut into parts, and with somebody else's image encoder.
- `sgdiff.full.planner`: How much memory, disk and time a full run needs, before it is begun: counted on tensors that have a shape and no memory.
- `sgdiff.full.presets`: From an empty disk to the paper's table: the commands, the disk, the hours, and what to expect.
- `sgdiff.full.protocol`: A number such as FID 23.5 means little unless one says of which images it is, of how many, how they were drawn, and which network looked at them. Here the measurement writes all of this down.
- `sgdiff.full.train`: One stage of a full run, on one process or on many, stopped and gone on with as often as need be.
- `sgdiff.graphs.batch`: Graphs of all sizes laid end to end, without padding.
- `sgdiff.graphs.data`: Pictures whose graphs are known, what may be said of them, and what they never show: one small interface for the toy world and for photographs.
- `sgdiff.graphs.edits`: Change one word, keep the rest: functions from graph to graph, and a reader for edits that are told in words.
- `sgdiff.graphs.faults`: Rows, words and boxes come from everywhere and in every type. All that is wrong with them is told in one message.
- `sgdiff.graphs.forms`: sg2im's JSON, graphs of networkx, whole files of graphs: all can be read and written, and nothing gets lost in silence.
- `sgdiff.graphs.graph`: A scene graph says what is in a picture and how the things stand to each other: one small class, and what a graph must be before it can be drawn.
- `sgdiff.graphs.names`: A number, attributes and a word, as in "three small red kites": how things are named in a text, and what the objects of a graph are called.
- `sgdiff.graphs.vocab`: A network knows a fixed list of words, and people write many more: so there are aliases, capitals do not matter, and an error names the words that come close.
- `sgdiff.method.attention`: How a picture reads a graph: each place takes a weighted mean of the tokens, and chooses the weights.
- `sgdiff.method.choosing`: Draw several pictures of a graph, and let the encoder of stage 1 keep the one that fits the graph best.
- `sgdiff.method.contrastive`: Show a graph encoder many pictures and ask which one its graph describes: from this question alone it learns what graphs mean in pictures.
- `sgdiff.method.diffusion`: Pictures are made small, and large again. Then a network learns to take noise off the small ones. In the end it draws new pictures out of nothing but noise.
- `sgdiff.method.gaussian_mixture`: Data whose best possible denoiser has a closed form: how low can a loss go, and what do schedules, questions and weights change?
- `sgdiff.method.generation`: Stage 2: train a UNet to take noise off latents while it reads a graph. Then one object that draws a graph, changes a word, and draws again.
- `sgdiff.method.graph_encoder`: A scene graph becomes two things that a network can use: one token per triple, and one vector for the whole scene.
- `sgdiff.method.masked`: Hide an object and draw it again with the help of the graph: so the tokens of the graph learn what things look like.
- `sgdiff.method.noise`: A picture starts from its own noise, whatever else is drawn beside it; and a wrong number is named before anything is drawn.
- `sgdiff.method.pipeline`: One object that takes a scene graph and gives an image, and takes an edit and gives the image before and after.
- `sgdiff.method.pipeline_checks`: Graphs and settings are checked before the first step: a message names what is wrong, what was expected, and how to mend it.
- `sgdiff.method.pipeline_files`: A trained pipeline on disk: JSON and safetensors, one folder a part, laid out as on the Hugging Face Hub.
- `sgdiff.method.pretraining`: Stage 1 as the library runs it: one graph encoder, two losses, a configuration, and room for an image encoder that is frozen.
- `sgdiff.method.retrieval`: Four measures: retrieval and the flip test for the encoder, a judge for the pictures, and what FID and Inception Score cannot see.
- `sgdiff.method.samplers`: From noise to picture in few steps: DDPM, DDIM and DPM-Solver++; and guidance, which makes the picture obey its graph.
- `sgdiff.method.unet`: A denoiser that sees a noisy picture at several sizes, knows how noisy it is, and reads the graph at every place.
- `sgdiff.method.unet_speed`: Convolutions as matrix products, doubling by four small convolutions, and the order in which a map is stored: the same numbers in less time.
- `sgdiff.method.vae`: The full form of chapter 7's autoencoder: a linear map that is known in closed form, and a convolutional network that corrects it, for pictures of any size.
- `sgdiff.pretrained.checkpoints`: A checkpoint is a file from a stranger. Know every name in it, and let the shapes say what was built.
- `sgdiff.pretrained.clip`: At full size nobody trains the image side: CLIP looks at the picture, a published autoencoder makes the latents. Both stay frozen, and both must fit where our small ones stood.
- `sgdiff.pretrained.first_stages`: Our own little autoencoder is for the toy world; at full size one takes an autoencoder that somebody trained for weeks, and asks it to keep our interface.
- `sgdiff.pretrained.official`: A scene graph in sg2im's JSON, three files from the authors, a picture: as they drew it, and with one quirk mended.
- `sgdiff.pretrained.official_losses`: Where we depart from the paper, where from the official code, and why: each reason is something you can run.
- `sgdiff.pretrained.official_weights`: Three files from the authors of SGDiff, three modules of ours that compute what theirs compute, name by name and number by number.
- `sgdiff.pretrained.pickles`: Weights are stored as a program that Python runs when it opens the file. A machine of our own reads the same program and runs nothing.
- `sgdiff.pretrained.torch_files`: Where the numbers of a checkpoint lie, how many there can be, and what to say about a file that is something else.
- `sgdiff.real.coco_stuff`: Things from one file, stuff from another, masks in three codings; relations nobody has annotated, worked out from where the pixels are.
- `sgdiff.real.columns`: The file of a table: its columns and their sizes, compared before anything is read; and written so that equal tables are equal files.
- `sgdiff.real.dataset`: `VisualGenome` and `CocoStuff`: prepared files in, the same item as the toy world out, so that every model of this library trains on them as it stands.
- `sgdiff.real.images`: Any picture file as an RGB picture: read whole, or refused in words that name it.
- `sgdiff.real.json_stream`: One record at a time from a file of any size, in memory that does not grow with the file; and a tally of what was kept, what was dropped, and why.
- `sgdiff.real.prepare`: `sgdiff prepare vg | gqa | coco | shards`: raw files in, tables out; run it again and nothing happens; kill it and nothing is half done.
- `sgdiff.real.records`: A real data set gives an image, a list of boxes and a list of relations; a model wants a square picture and a graph of it. What lies between is short, and most of it can be got wrong.
- `sgdiff.real.rules`: What a row of a prepared table may say, checked for all rows at once, before one of them is believed.
- `sgdiff.real.shards`: A hundred thousand small files become a hundred large ones, and every sample in them can still be asked for by its number.
- `sgdiff.real.sources`: Three releases of Visual Genome, and GQA, give their images, objects and relationships through one door.
- `sgdiff.real.tables`: A split of a prepared data set in memory, row by row in words; and files that appear together and are known by their sums.
- `sgdiff.real.tiny`: Visual Genome, GQA and COCO-Stuff say the same things in three dialects. We learn them by writing a tiny data set in each, traps included.
- `sgdiff.real.visual_genome`: 108,077 images that thousands of people have described, in their own words. sg2im's rules turn them into 178 kinds of objects and 45 predicates; we follow them to the letter, and keep what they lose by accident.
- `sgdiff.terminal`: Whatever ends a command, its user reads one line and its script one number; whatever it prints, any terminal can show it.
- `sgdiff.toy.captions`: Before an image encoder can be asked about whole graphs, it learns to see from captions of one fact each, true ones and lies.
- `sgdiff.toy.compliance`: Numbers for "does the picture obey the graph?": what the judge finds of each family of relations, beside what it finds of their opposites and beside what it finds in real scenes.
- `sgdiff.toy.judge`: A small network that looks at a picture, says what is in it, and answers questions such as "does the sheep look at the tree?". It marks the exam papers of the models that draw.
- `sgdiff.toy.marks`: Two sheep were asked for, three are there: which is which, and is all that was said true?
- `sgdiff.toy.obedience`: Shares of things, colours and relations; of everything at once against the number of facts; of what an edit left alone.
- `sgdiff.toy.park`: A world of real scene graphs: up to six things, several of a kind, colours and sizes, chains of relations.
- `sgdiff.toy.park_report`: All that is claimed of the weights that draw the park, as one table with one command.
- `sgdiff.toy.placing`: One thing after another looks for a place beside, above, inside, before or in the hand of one that is there.
- `sgdiff.toy.reader`: A small network that turns a picture of the park into its scene graph: what is there, how often, in which colours and sizes, and how it stands to each other.
- `sgdiff.toy.recipes`: A few stages, one preset, one command: from an empty folder to a pipeline that draws.
- `sgdiff.toy.report`: Everything that is claimed of the shipped weights, measured by one command.
- `sgdiff.toy.splits`: Held-out graphs of four kinds: new mixtures, new triples, new roles, more things.
- `sgdiff.toy.sprites`: Ten things that everybody tells apart at a glance, in four colours and two sizes.
- `sgdiff.toy.world`: A small world in which every scene graph has a true picture, so that "does the image obey the graph?" has an exact answer.
- `sgdiff.training.distributed`: One batch spread over many processes, and results that do not tell how many there were.
- `sgdiff.training.fit`: One `fit` for every model of this library: a loop that can be stopped at any moment and still ends in the same place, bit for bit.
- `sgdiff.training.muon`: Steps that move a matrix in all of its directions alike: more is learnt in the same minutes.
- `sgdiff.training.stages`: A run is a folder: what was asked of it, one stage after the other, and of each whether it is done.
- `sgdiff.training.steps`: Its batch, its part of it and its learning rate are functions of the step, so nothing about them has to be remembered; which weights decay, and a running mean of the weights, which a checkpoint keeps.
- `sgdiff.workshop.checks`: A checker that tries an answer on cases it has not seen, says what is wrong in one sentence, and never stops the notebook."""

__version__ = "0.1.0"

_HOME = {"SGDiffPipeline": "method.pipeline", "SceneGraph": "graphs.graph", "Vocab": "graphs.vocab"}
__all__ = ["SGDiffPipeline", "SceneGraph", "Vocab", "__version__"]


def __getattr__(name):
    "The public class `name`, its module imported on first use (PEP 562): `import sgdiff` stays instant, without torch."
    if name not in _HOME:
        raise AttributeError(f"module 'sgdiff' has no attribute {name!r}")
    from importlib import import_module
    value = globals()[name] = getattr(import_module(f"sgdiff.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted(set(globals()) | set(_HOME))
