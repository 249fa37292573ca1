import Testing
@testable import MedDINO

@Suite struct AnatomyCodesTests {
  /// The names of the data sets the model was published on, in their own spelling.
  @Test(arguments: [
    [
      "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "aorta", "postcava", "pancreas",
      "right adrenal gland", "left adrenal gland", "duodenum", "bladder",
    ],
    [
      "Spleen", "Right_Kidney", "Left-Kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "inferior vena cava",
      "portal & splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
    ],
    ["kidney", "tumor", "cyst"], ["liver", "tumour"],
  ])
  func theDataSetsNamesAreKnown(names: [String]) {
    let codes = names.compactMap(AnatomyCodes.code)
    #expect(codes.count == names.count && Set(codes).count == names.count)
    for code in codes { #expect(hasValidCheckDigit(code), "\(code)") }
  }

  @Test func namesOfSeveralStructuresHaveNone() {
    for name in ["prostate/uterus", "masses", "organ", "", "kidney and spleen"] { #expect(AnatomyCodes.code(name) == nil) }
  }

  /// SNOMED CT identifiers end in a Verhoeff digit: a mistyped one shows.
  private func hasValidCheckDigit(_ code: String) -> Bool {
    let permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    func product(_ a: Int, _ b: Int) -> Int {  // in the dihedral group of ten
      let turn = a < 5 ? (b < 5 ? a + b : a + b - 5) : (b < 5 ? a - 5 - b : a - b)
      let rotation = ((turn % 5) + 5) % 5
      return (a < 5) == (b < 5) ? rotation : rotation + 5
    }
    var check = 0
    for (place, character) in code.reversed().enumerated() {
      guard var digit = character.wholeNumberValue else { return false }
      for _ in 0..<place % 8 { digit = permutation[digit] }
      check = product(check, digit)
    }
    return check == 0
  }
}
