"""The works that studies cite, as BibTeX has them: data alone, see ``references`` for the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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


ENTRIES: tuple[Reference, ...] = (
    Reference(
        "sato2019",
        "inproceedings",
        {
            "author": "Sato, Kazuki and Hama, Kenta and Matsubara, Takashi and Uehara, Kuniaki",
            "title": "Deep Unsupervised Anomaly Segmentation via Aleatoric Uncertainty-Aware Score",
            "booktitle": "The 33rd Annual Conference of the Japanese Society for Artificial "
            "Intelligence",
            "year": "2019",
            "number": "4I2-J-2-03",
            "note": "In Japanese",
        },
    ),
    Reference(
        "ixi",
        "misc",
        {
            "title": "{IXI} Dataset",
            "author": "{Biomedical Image Analysis Group, Imperial College London}",
            "howpublished": r"\url{https://brain-development.org/ixi-dataset/}",
        },
    ),
    Reference(
        "liew2018",
        "article",
        {
            "author": "Liew, Sook-Lei and others",
            "title": "A large, open source dataset of stroke anatomical brain images and "
            "manual lesion segmentations",
            "journal": "Scientific Data",
            "volume": "5",
            "pages": "180011",
            "year": "2018",
            "doi": "10.1038/sdata.2018.11",
        },
    ),
    Reference(
        "menze2015",
        "article",
        {
            "author": "Menze, Bjoern H. and others",
            "title": "The Multimodal Brain Tumor Image Segmentation Benchmark ({BRATS})",
            "journal": "IEEE Transactions on Medical Imaging",
            "volume": "34",
            "number": "10",
            "pages": "1993--2024",
            "year": "2015",
            "doi": "10.1109/TMI.2014.2377694",
        },
    ),
    Reference(
        "bakas2017",
        "article",
        {
            "author": "Bakas, Spyridon and others",
            "title": "Advancing The Cancer Genome Atlas glioma {MRI} collections with expert"
            " segmentation labels and radiomic features",
            "journal": "Scientific Data",
            "volume": "4",
            "pages": "170117",
            "year": "2017",
            "doi": "10.1038/sdata.2017.117",
        },
    ),
    Reference(
        "fisch2024",
        "article",
        {
            "author": "Fisch, Lukas and others",
            "title": "deepbet: Fast brain extraction of {T1}-weighted {MRI} using "
            "Convolutional Neural Networks",
            "journal": "Computers in Biology and Medicine",
            "volume": "179",
            "pages": "108845",
            "year": "2024",
            "doi": "10.1016/j.compbiomed.2024.108845",
        },
    ),
    Reference(
        "smith2002",
        "article",
        {
            "author": "Smith, Stephen M.",
            "title": "Fast robust automated brain extraction",
            "journal": "Human Brain Mapping",
            "volume": "17",
            "number": "3",
            "pages": "143--155",
            "year": "2002",
            "doi": "10.1002/hbm.10062",
        },
    ),
    Reference(
        "kingma2014",
        "inproceedings",
        {
            "author": "Kingma, Diederik P. and Welling, Max",
            "title": "Auto-Encoding Variational {Bayes}",
            "booktitle": "International Conference on Learning Representations",
            "year": "2014",
        },
    ),
    Reference(
        "vanleemput2001",
        "article",
        {
            "author": "Van Leemput, Koen and Maes, Frederik and Vandermeulen, Dirk and "
            "Colchester, Alan and Suetens, Paul",
            "title": "Automated segmentation of multiple sclerosis lesions by model outlier "
            "detection",
            "journal": "IEEE Transactions on Medical Imaging",
            "volume": "20",
            "number": "8",
            "pages": "677--688",
            "year": "2001",
            "doi": "10.1109/42.938237",
        },
    ),
    Reference(
        "mao2020",
        "inproceedings",
        {
            "author": "Mao, Yifan and Xue, Fei-Fei and Wang, Ruixuan and Zhang, Jianguo and "
            "Zheng, Wei-Shi and Liu, Hongmei",
            "title": "Abnormality Detection in Chest {X}-Ray Images Using Uncertainty "
            "Prediction Autoencoders",
            "booktitle": "Medical Image Computing and Computer Assisted Intervention",
            "year": "2020",
        },
    ),
    Reference(
        "kascenas2022",
        "inproceedings",
        {
            "author": "Kascenas, Antanas and Pugeault, Nicolas and O'Neil, Alison Q.",
            "title": "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain {MRI}",
            "booktitle": "Medical Imaging with Deep Learning",
            "year": "2022",
        },
    ),
    Reference(
        "meissen2021",
        "inproceedings",
        {
            "author": "Meissen, Felix and Kaissis, Georgios and Rueckert, Daniel",
            "title": "Challenging Current Semi-supervised Anomaly Segmentation Methods for "
            "Brain {MRI}",
            "booktitle": "Brainlesion: Glioma, Multiple Sclerosis, Stroke and Traumatic Brain "
            "Injuries",
            "year": "2021",
        },
    ),
    Reference(
        "kingma2015",
        "inproceedings",
        {
            "author": "Kingma, Diederik P. and Ba, Jimmy",
            "title": "Adam: A Method for Stochastic Optimization",
            "booktitle": "International Conference on Learning Representations",
            "year": "2015",
        },
    ),
    Reference(
        "li2020",
        "inproceedings",
        {
            "author": "Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, "
            "Ekaterina and Ben-tzur, Jonathan and Hardt, Moritz and Recht, Benjamin"
            " and Talwalkar, Ameet",
            "title": "A System for Massively Parallel Hyperparameter Tuning",
            "booktitle": "Proceedings of Machine Learning and Systems",
            "year": "2020",
        },
    ),
    Reference(
        "baur2021",
        "article",
        {
            "author": "Baur, Christoph and Denner, Stefan and Wiestler, Benedikt and Navab, "
            "Nassir and Albarqouni, Shadi",
            "title": "Autoencoders for unsupervised anomaly segmentation in brain {MR} "
            "images: a comparative study",
            "journal": "Medical Image Analysis",
            "volume": "69",
            "pages": "101952",
            "year": "2021",
            "doi": "10.1016/j.media.2020.101952",
        },
    ),
    Reference(
        "tsamardinos2018",
        "article",
        {
            "author": "Tsamardinos, Ioannis and Greasidou, Elissavet and Borboudakis, Giorgos",
            "title": "Bootstrapping the out-of-sample predictions for efficient and accurate"
            " cross-validation",
            "journal": "Machine Learning",
            "volume": "107",
            "number": "12",
            "pages": "1895--1922",
            "year": "2018",
            "doi": "10.1007/s10994-018-5714-4",
        },
    ),
    Reference(
        "holm1979",
        "article",
        {
            "author": "Holm, Sture",
            "title": "A Simple Sequentially Rejective Multiple Test Procedure",
            "journal": "Scandinavian Journal of Statistics",
            "volume": "6",
            "number": "2",
            "pages": "65--70",
            "year": "1979",
        },
    ),
    Reference(
        "paszke2019",
        "inproceedings",
        {
            "author": "Paszke, Adam and others",
            "title": "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "32",
            "year": "2019",
        },
    ),
    Reference(
        "moritz2018",
        "inproceedings",
        {
            "author": "Moritz, Philipp and others",
            "title": "Ray: A Distributed Framework for Emerging {AI} Applications",
            "booktitle": "13th USENIX Symposium on Operating Systems Design and Implementation",
            "pages": "561--577",
            "year": "2018",
        },
    ),
    Reference(
        "liaw2018",
        "article",
        {
            "author": "Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, "
            "Philipp and Gonzalez, Joseph E. and Stoica, Ion",
            "title": "Tune: A Research Platform for Distributed Model Selection and Training",
            "journal": "arXiv:1807.05118",
            "year": "2018",
        },
    ),
    Reference(
        "akiba2019",
        "inproceedings",
        {
            "author": "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru"
            " and Koyama, Masanori",
            "title": "Optuna: A Next-generation Hyperparameter Optimization Framework",
            "booktitle": "Proceedings of the 25th ACM SIGKDD International Conference on "
            r"Knowledge Discovery \& Data Mining",
            "pages": "2623--2631",
            "year": "2019",
            "doi": "10.1145/3292500.3330701",
        },
    ),
    Reference(
        "pedregosa2011",
        "article",
        {
            "author": "Pedregosa, Fabian and others",
            "title": "Scikit-learn: Machine Learning in {Python}",
            "journal": "Journal of Machine Learning Research",
            "volume": "12",
            "pages": "2825--2830",
            "year": "2011",
        },
    ),
    Reference(
        "harris2020",
        "article",
        {
            "author": "Harris, Charles R. and others",
            "title": "Array programming with {NumPy}",
            "journal": "Nature",
            "volume": "585",
            "pages": "357--362",
            "year": "2020",
            "doi": "10.1038/s41586-020-2649-2",
        },
    ),
    Reference(
        "nibabel",
        "misc",
        {
            "title": "{NiBabel}",
            "author": "Brett, Matthew and others",
            "doi": "10.5281/zenodo.591597",
        },
    ),
    Reference(
        "tejani2024",
        "article",
        {
            "author": "Tejani, Ali S. and Klontzas, Michail E. and Gatti, Anthony A. and "
            "Mongan, John T. and Moy, Linda and Park, Seong Ho and Kahn, Charles E.",
            "title": "Checklist for Artificial Intelligence in Medical Imaging ({CLAIM}): "
            "2024 Update",
            "journal": "Radiology: Artificial Intelligence",
            "volume": "6",
            "number": "4",
            "pages": "e240300",
            "year": "2024",
            "doi": "10.1148/ryai.240300",
        },
    ),
)
