"""What a paper about a study has to cite, as BibTeX: the paper, its data, methods and software.

Which of them a study needs follows from its records: a reference is there if the methods name it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from study.report.methods import Methods
from study.report.report import Report


@dataclass(frozen=True)
class Reference:
    """An entry of a bibliography.

    Attributes:
        key: What it is cited by.
        kind: Of BibTeX, such as ``article``.
        fields: Its fields in LaTeX's ASCII.
    """

    key: str
    kind: str
    fields: Mapping[str, str]

    def as_bibtex(self) -> str:
        """The entry."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


@dataclass(frozen=True)
class _Used:
    """What of a study tells which references it needs.

    Attributes:
        models: Names of its models.
        sources: Layouts of its cohorts that are no phantom.
        tools: What told the brain, without versions.
        methods: Its methods.
    """

    models: frozenset[str]
    sources: frozenset[str]
    tools: frozenset[str]
    methods: Methods = field(repr=False)


def references_of(report: Report, methods: Methods) -> tuple[Reference, ...]:
    """The references that a study needs, the paper first.

    Args:
        report: The study's report.
        methods: From :func:`study.report.methods.gather`.
    """
    tools = {tool.split()[0] for flow in methods.cohorts for tool in flow.brain_tools if tool}
    used = _Used(
        frozenset(trial.spec.model for trial in report.record.trials)
        | frozenset(search.spec.model for search in report.searches),
        frozenset(c.source for c in report.record.cohorts if not c.synthetic),
        frozenset(tools),
        methods,
    )
    return tuple(reference for reference, is_needed in _ALL if is_needed(used))


def bibtex(references: tuple[Reference, ...]) -> str:
    """The content of a ``references.bib``."""
    return "\n\n".join(reference.as_bibtex() for reference in references) + "\n"


def _article(key: str, *, doi: str = "", **fields: str) -> Reference:
    return Reference(key, "article", fields | ({"doi": doi} if doi else {}))


def _talk(key: str, *, doi: str = "", **fields: str) -> Reference:
    return Reference(key, "inproceedings", fields | ({"doi": doi} if doi else {}))


def _always(_: _Used) -> bool:
    return True


def _model(*names: str) -> Callable[[_Used], bool]:
    return lambda used: bool(used.models & set(names))


def _source(name: str) -> Callable[[_Used], bool]:
    return lambda used: name in used.sources


def _tool(name: str) -> Callable[[_Used], bool]:
    return lambda used: any(name in tool.lower() for tool in used.tools)


def _package(name: str) -> Callable[[_Used], bool]:
    return lambda used: name in used.methods.packages


def _is_trained(used: _Used) -> bool:
    return any(training.optimiser for training in used.methods.trainings)


_ALL: tuple[tuple[Reference, Callable[[_Used], bool]], ...] = (
    (
        _talk(
            "sato2019",
            author="Sato, Kazuki and Hama, Kenta and Matsubara, Takashi and Uehara, Kuniaki",
            title="Deep Unsupervised Anomaly Segmentation via Aleatoric Uncertainty-Aware Score",
            booktitle="The 33rd Annual Conference of the Japanese Society for Artificial "
            "Intelligence",
            year="2019",
            number="4I2-J-2-03",
            note="In Japanese",
        ),
        _always,
    ),
    (
        Reference(
            "ixi",
            "misc",
            {
                "title": "{IXI} Dataset",
                "author": "{Biomedical Image Analysis Group, Imperial College London}",
                "howpublished": r"\url{https://brain-development.org/ixi-dataset/}",
            },
        ),
        _source("ixi"),
    ),
    (
        _article(
            "liew2018",
            author="Liew, Sook-Lei and others",
            title="A large, open source dataset of stroke anatomical brain images and manual "
            "lesion segmentations",
            journal="Scientific Data",
            volume="5",
            pages="180011",
            year="2018",
            doi="10.1038/sdata.2018.11",
        ),
        _source("atlas"),
    ),
    (
        _article(
            "menze2015",
            author="Menze, Bjoern H. and others",
            title="The Multimodal Brain Tumor Image Segmentation Benchmark ({BRATS})",
            journal="IEEE Transactions on Medical Imaging",
            volume="34",
            number="10",
            pages="1993--2024",
            year="2015",
            doi="10.1109/TMI.2014.2377694",
        ),
        _source("brats"),
    ),
    (
        _article(
            "bakas2017",
            author="Bakas, Spyridon and others",
            title="Advancing The Cancer Genome Atlas glioma {MRI} collections with expert "
            "segmentation labels and radiomic features",
            journal="Scientific Data",
            volume="4",
            pages="170117",
            year="2017",
            doi="10.1038/sdata.2017.117",
        ),
        _source("brats"),
    ),
    (
        _article(
            "fisch2024",
            author="Fisch, Lukas and others",
            title="deepbet: Fast brain extraction of {T1}-weighted {MRI} using Convolutional "
            "Neural Networks",
            journal="Computers in Biology and Medicine",
            volume="179",
            pages="108845",
            year="2024",
            doi="10.1016/j.compbiomed.2024.108845",
        ),
        _tool("deepbet"),
    ),
    (
        _article(
            "smith2002",
            author="Smith, Stephen M.",
            title="Fast robust automated brain extraction",
            journal="Human Brain Mapping",
            volume="17",
            number="3",
            pages="143--155",
            year="2002",
            doi="10.1002/hbm.10062",
        ),
        lambda used: any(tool.lower() in ("bet", "bet2", "fsl") for tool in used.tools),
    ),
    (
        _talk(
            "kingma2014",
            author="Kingma, Diederik P. and Welling, Max",
            title="Auto-Encoding Variational {Bayes}",
            booktitle="International Conference on Learning Representations",
            year="2014",
        ),
        _model("vae", "vae_fixed"),
    ),
    (
        _article(
            "vanleemput2001",
            author="Van Leemput, Koen and Maes, Frederik and Vandermeulen, Dirk and Colchester, "
            "Alan and Suetens, Paul",
            title="Automated segmentation of multiple sclerosis lesions by model outlier detection",
            journal="IEEE Transactions on Medical Imaging",
            volume="20",
            number="8",
            pages="677--688",
            year="2001",
            doi="10.1109/42.938237",
        ),
        _model("gmm"),
    ),
    (
        _talk(
            "mao2020",
            author="Mao, Yifan and Xue, Fei-Fei and Wang, Ruixuan and Zhang, Jianguo and Zheng, "
            "Wei-Shi and Liu, Hongmei",
            title="Abnormality Detection in Chest {X}-Ray Images Using Uncertainty Prediction "
            "Autoencoders",
            booktitle="Medical Image Computing and Computer Assisted Intervention",
            year="2020",
        ),
        _model("aeu"),
    ),
    (
        _talk(
            "kascenas2022",
            author="Kascenas, Antanas and Pugeault, Nicolas and O'Neil, Alison Q.",
            title="Denoising Autoencoders for Unsupervised Anomaly Detection in Brain {MRI}",
            booktitle="Medical Imaging with Deep Learning",
            year="2022",
        ),
        _model("dae_coarse"),
    ),
    (
        _talk(
            "meissen2021",
            author="Meissen, Felix and Kaissis, Georgios and Rueckert, Daniel",
            title="Challenging Current Semi-supervised Anomaly Segmentation Methods for Brain "
            "{MRI}",
            booktitle="Brainlesion: Glioma, Multiple Sclerosis, Stroke and Traumatic Brain "
            "Injuries",
            year="2021",
        ),
        _model("equalized"),
    ),
    (
        _talk(
            "kingma2015",
            author="Kingma, Diederik P. and Ba, Jimmy",
            title="Adam: A Method for Stochastic Optimization",
            booktitle="International Conference on Learning Representations",
            year="2015",
        ),
        _is_trained,
    ),
    (
        _talk(
            "li2020",
            author="Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, Ekaterina "
            "and Ben-tzur, Jonathan and Hardt, Moritz and Recht, Benjamin and Talwalkar, Ameet",
            title="A System for Massively Parallel Hyperparameter Tuning",
            booktitle="Proceedings of Machine Learning and Systems",
            year="2020",
        ),
        lambda used: bool(used.methods.halving or used.methods.stopped),
    ),
    (
        _article(
            "baur2021",
            author="Baur, Christoph and Denner, Stefan and Wiestler, Benedikt and Navab, Nassir "
            "and Albarqouni, Shadi",
            title="Autoencoders for unsupervised anomaly segmentation in brain {MR} images: a "
            "comparative study",
            journal="Medical Image Analysis",
            volume="69",
            pages="101952",
            year="2021",
            doi="10.1016/j.media.2020.101952",
        ),
        lambda used: bool(used.methods.postprocessings),
    ),
    (
        _article(
            "tsamardinos2018",
            author="Tsamardinos, Ioannis and Greasidou, Elissavet and Borboudakis, Giorgos",
            title="Bootstrapping the out-of-sample predictions for efficient and accurate "
            "cross-validation",
            journal="Machine Learning",
            volume="107",
            number="12",
            pages="1895--1922",
            year="2018",
            doi="10.1007/s10994-018-5714-4",
        ),
        lambda used: used.methods.n_draws is not None,
    ),
    (
        _article(
            "holm1979",
            author="Holm, Sture",
            title="A Simple Sequentially Rejective Multiple Test Procedure",
            journal="Scandinavian Journal of Statistics",
            volume="6",
            number="2",
            pages="65--70",
            year="1979",
        ),
        lambda used: used.methods.level_percent is not None,
    ),
    (
        _talk(
            "paszke2019",
            author="Paszke, Adam and others",
            title="{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
            booktitle="Advances in Neural Information Processing Systems",
            volume="32",
            year="2019",
        ),
        _package("torch"),
    ),
    (
        _talk(
            "moritz2018",
            author="Moritz, Philipp and others",
            title="Ray: A Distributed Framework for Emerging {AI} Applications",
            booktitle="13th USENIX Symposium on Operating Systems Design and Implementation",
            pages="561--577",
            year="2018",
        ),
        _package("ray"),
    ),
    (
        _article(
            "liaw2018",
            author="Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, Philipp and "
            "Gonzalez, Joseph E. and Stoica, Ion",
            title="Tune: A Research Platform for Distributed Model Selection and Training",
            journal="arXiv:1807.05118",
            year="2018",
        ),
        _package("ray"),
    ),
    (
        _talk(
            "akiba2019",
            author="Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and "
            "Koyama, Masanori",
            title="Optuna: A Next-generation Hyperparameter Optimization Framework",
            booktitle="Proceedings of the 25th ACM SIGKDD International Conference on Knowledge "
            r"Discovery \& Data Mining",
            pages="2623--2631",
            year="2019",
            doi="10.1145/3292500.3330701",
        ),
        lambda used: any(training.search for training in used.methods.trainings),
    ),
    (
        _article(
            "pedregosa2011",
            author="Pedregosa, Fabian and others",
            title="Scikit-learn: Machine Learning in {Python}",
            journal="Journal of Machine Learning Research",
            volume="12",
            pages="2825--2830",
            year="2011",
        ),
        _package("scikit-learn"),
    ),
    (
        _article(
            "harris2020",
            author="Harris, Charles R. and others",
            title="Array programming with {NumPy}",
            journal="Nature",
            volume="585",
            pages="357--362",
            year="2020",
            doi="10.1038/s41586-020-2649-2",
        ),
        _package("numpy"),
    ),
    (
        Reference(
            "nibabel",
            "misc",
            {
                "title": "{NiBabel}",
                "author": "Brett, Matthew and others",
                "doi": "10.5281/zenodo.591597",
            },
        ),
        _package("nibabel"),
    ),
    (
        _article(
            "tejani2024",
            author="Tejani, Ali S. and Klontzas, Michail E. and Gatti, Anthony A. and Mongan, "
            "John T. and Moy, Linda and Park, Seong Ho and Kahn, Charles E.",
            title="Checklist for Artificial Intelligence in Medical Imaging ({CLAIM}): 2024 Update",
            journal="Radiology: Artificial Intelligence",
            volume="6",
            number="4",
            pages="e240300",
            year="2024",
            doi="10.1148/ryai.240300",
        ),
        _always,
    ),
)
