/// SNOMED CT codes of the structures that the abdominal data sets AMOS22, BTCV, KiTS and LiTS label, by the names they use.
///
/// One concept per structure, the lateralised one where the name says a side. A label that stands for several structures, such as
/// "prostate/uterus", has no code.
/// Source: SNOMED CT, body structures and morphologic abnormalities, as DICOM PS3.16 lists them (CID 7154 and others).
enum AnatomyCodes {
  /// The designator that DICOM gives SNOMED CT.
  static let scheme = "SCT"

  /// The code of a label's name, whatever its case and with spaces, hyphens or underscores; nil where the name is not a known one.
  static func code(_ name: String) -> String? { codes[normalized(name)] }

  private static func normalized(_ name: String) -> String {
    name.lowercased().split { " _-".contains($0) }.joined(separator: " ")
  }

  private static let codes: [String: String] = [
    "spleen": "78961009",
    "kidney": "64033007", "kidneys": "64033007",
    "right kidney": "9846003", "kidney right": "9846003",
    "left kidney": "18639004", "kidney left": "18639004",
    "gallbladder": "28231008", "gall bladder": "28231008",
    "esophagus": "32849002", "oesophagus": "32849002",
    "liver": "10200004",
    "stomach": "69695003",
    "aorta": "15825003", "arota": "15825003",  // AMOS22 spells it so
    "inferior vena cava": "64131007", "postcava": "64131007", "ivc": "64131007",
    "portal vein and splenic vein": "110765007", "portal & splenic vein": "110765007",
    "portal and splenic vein": "110765007", "portal vein & splenic vein": "110765007", "portal and splenic veins": "110765007",
    "pancreas": "15776009",
    "adrenal gland": "23451007",
    "right adrenal gland": "29392005", "adrenal gland right": "29392005",
    "left adrenal gland": "12003004", "adrenal gland left": "12003004",
    "duodenum": "38848004",
    "bladder": "89837001", "urinary bladder": "89837001",
    "prostate": "41216001",
    "uterus": "35039007",
    "tumor": "108369006", "tumour": "108369006",
    "cyst": "367643001",
  ]
}
