/// A public dataset that CT-3M was made from.
public struct CatalogueEntry: Equatable, Sendable {
  /// Whether the layout was seen described by others, or is a guess.
  public enum Certainty: String, Sendable { case verified, unknown }

  public let name: String
  public let title: String
  /// As listed by the AbdomenAtlas paper (its table of sources) or the source's own page; the source's own terms count.
  public let licence: String
  public let reference: String
  public let layout: SourceLayout
  /// The layout in words.
  public let description: String
  public let certainty: Certainty
  /// CT volumes as published; nil where releases differ.
  public let publishedVolumes: Int?
}

/// The public sources of CT-3M, with what is needed to build a part of the set from a copy.
///
/// The paper counts sixteen, with five tasks of the Medical Segmentation Decathlon, and names six of these; MSD Liver and LiTS are the
/// same volumes. All seventeen entries are here.
/// Source: demand and peers A3.
public enum SourceCatalogue {
  public static let entries: [CatalogueEntry] = organs + decathlon + collections

  public static func entry(_ name: String) -> CatalogueEntry? { entries.first { $0.name == name } }

  private static let organs: [CatalogueEntry] = [
    CatalogueEntry(
      name: "btcv", title: "BTCV", licence: "CC BY 4.0", reference: "https://www.synapse.org/Synapse:syn3193805",
      layout: SourceLayout(
        ["**/Training/img/img*", "**/Testing/img/img*", "**/imagesTr/img*", "**/imagesTs/img*", "**/imagesTr/ABD_*", "**/imagesTs/ABD_*"]),
      description: "RawData/Training/img/img0001.nii.gz and RawData/Testing/img, or imagesTr and imagesTs", certainty: .verified,
      publishedVolumes: 50),
    CatalogueEntry(
      name: "pancreas-ct", title: "NIH Pancreas-CT", licence: "CC BY 3.0",
      reference: "https://www.cancerimagingarchive.net/collection/pancreas-ct/",
      layout: SourceLayout(["**/PANCREAS_*"], ignored: ["**/label*", "**/*label*/**"]),
      description: "published as DICOM (PANCREAS_0001/…); layout after conversion to NIfTI unknown, PANCREAS_0001.nii.gz is accepted",
      certainty: .unknown, publishedVolumes: 80),
    CatalogueEntry(
      name: "chaos", title: "CHAOS (CT)", licence: "CC BY-SA 4.0", reference: "https://zenodo.org/record/3431873",
      layout: SourceLayout(["**/ct/**", "**/CT/**"], ignored: ["**/Ground/**", "**/*mask*"], naming: .path),
      description: "published as DICOM (CT/<number>/…); layout after conversion to NIfTI unknown, any volume below a folder CT is accepted",
      certainty: .unknown, publishedVolumes: 40),
    CatalogueEntry(
      name: "lits", title: "LiTS", licence: "CC BY-SA 4.0", reference: "https://competitions.codalab.org/competitions/17094",
      layout: SourceLayout(["**/volume-*", "**/test-volume-*"]),
      description: "Training Batch 1/volume-0.nii, Training Batch 2/…, test-volume-0.nii", certainty: .verified, publishedVolumes: 201),
    CatalogueEntry(
      name: "kits", title: "KiTS", licence: "CC BY-NC-SA 4.0", reference: "https://kits-challenge.org/kits23",
      layout: SourceLayout(["**/case_*/imaging"], naming: .folder),
      description: "dataset/case_00000/imaging.nii.gz (KiTS19, 21 and 23)", certainty: .verified, publishedVolumes: nil),
    CatalogueEntry(
      name: "word", title: "WORD", licence: "GNU GPL 3.0", reference: "https://github.com/HiLab-git/WORD",
      layout: SourceLayout(["**/imagesTr/word_*", "**/imagesVal/word_*", "**/imagesTs/word_*"]),
      description: "imagesTr/word_0002.nii.gz, imagesVal, imagesTs", certainty: .verified, publishedVolumes: 150),
    CatalogueEntry(
      name: "abdomenct-1k", title: "AbdomenCT-1K", licence: "CC BY-NC-SA", reference: "https://github.com/JunMa11/AbdomenCT-1K",
      layout: SourceLayout(["**/Case_*_0000"], suffix: "_0000"),
      description: "imagesTr/Case_00001_0000.nii.gz, imagesTs, or in other folders", certainty: .verified, publishedVolumes: 1112),
    CatalogueEntry(
      name: "amos22", title: "AMOS22 (CT)", licence: "CC BY-NC-SA", reference: "https://amos22.grand-challenge.org",
      layout: SourceLayout(["**/imagesTr/amos_*", "**/imagesVa/amos_*", "**/imagesTs/amos_*"], largestNumber: 500),
      description: "imagesTr/amos_0001.nii.gz, imagesVa, imagesTs; numbers above 500 are MR and stay out", certainty: .verified,
      publishedVolumes: 500),
  ]

  private static let decathlon: [CatalogueEntry] = [
    ("msd-liver", "Task03_Liver", "liver", 201), ("msd-lung", "Task06_Lung", "lung", 96),
    ("msd-pancreas", "Task07_Pancreas", "pancreas", 420), ("msd-hepaticvessel", "Task08_HepaticVessel", "hepaticvessel", 443),
    ("msd-spleen", "Task09_Spleen", "spleen", 61), ("msd-colon", "Task10_Colon", "colon", 190),
  ].map { name, folder, prefix, volumes in
    CatalogueEntry(
      name: name, title: "MSD \(folder)", licence: "CC BY-SA 4.0", reference: "http://medicaldecathlon.com",
      layout: SourceLayout(["**/imagesTr/\(prefix)_*", "**/imagesTs/\(prefix)_*"]),
      description: "\(folder)/imagesTr/\(prefix)_001.nii.gz, imagesTs", certainty: .verified, publishedVolumes: volumes)
  }

  private static let collections: [CatalogueEntry] = [
    CatalogueEntry(
      name: "ct-org", title: "CT-ORG", licence: "CC BY 3.0", reference: "https://www.cancerimagingarchive.net/collection/ct-org/",
      layout: SourceLayout(["**/volume-*"]), description: "volume-0.nii.gz", certainty: .verified, publishedVolumes: 140),
    CatalogueEntry(
      name: "totalsegmentator", title: "TotalSegmentator (CT)", licence: "not verified, see the source",
      reference: "https://doi.org/10.5281/zenodo.6802613", layout: SourceLayout(["**/s*/ct"], naming: .folder),
      description: "s0000/ct.nii.gz", certainty: .verified, publishedVolumes: 1228),
    CatalogueEntry(
      name: "abdomenatlas", title: "AbdomenAtlas 3.0", licence: "not verified, see the source (1.0 Mini: CC BY-NC-SA 4.0)",
      reference: "https://github.com/MrGiovanni/RadGPT", layout: SourceLayout(["**/BDMAP_*/ct"], naming: .folder),
      description: "layout of 3.0 unknown; that of 1.0 Mini, BDMAP_00000001/ct.nii.gz, is accepted", certainty: .unknown,
      publishedVolumes: nil),
  ]
}
