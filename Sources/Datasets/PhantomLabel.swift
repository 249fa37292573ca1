/// One organ of the phantom as a label: value, name, colour and code.
public struct PhantomLabel: Sendable, Equatable {
  public let value: Int
  public let name: String
  /// Red, green, blue, alpha.
  public let rgba: SIMD4<UInt8>
  /// SNOMED CT code of the anatomical structure.
  public let snomed: String
}

/// The organs in the order of their label values; the first `labelCount` of them are labelled.
enum PhantomOrganKind: Int, CaseIterable, Sendable {
  case liver = 1
  case spleen, rightKidney, leftKidney, stomach, gallbladder, aorta, bladder

  var label: PhantomLabel {
    switch self {
    case .liver: make("liver", SIMD4(221, 130, 101, 255), "10200004")
    case .spleen: make("spleen", SIMD4(157, 108, 222, 255), "78961009")
    case .rightKidney: make("kidney_right", SIMD4(242, 205, 60, 255), "9846003")
    case .leftKidney: make("kidney_left", SIMD4(122, 204, 90, 255), "18639004")
    case .stomach: make("stomach", SIMD4(240, 128, 190, 255), "69695003")
    case .gallbladder: make("gallbladder", SIMD4(60, 190, 130, 255), "28231008")
    case .aorta: make("aorta", SIMD4(230, 60, 60, 255), "15825003")
    case .bladder: make("urinary_bladder", SIMD4(70, 160, 240, 255), "89837001")
    }
  }
  private func make(_ name: String, _ rgba: SIMD4<UInt8>, _ snomed: String) -> PhantomLabel {
    PhantomLabel(value: rawValue, name: name, rgba: rgba, snomed: snomed)
  }

  /// HU: mean over patients and spread between patients.
  func hounsfield(_ phase: PhantomPhase) -> (mean: Double, spread: Double) {
    switch (self, phase) {
    case (.liver, .native): (57, 6)
    case (.spleen, .native): (51, 5)
    case (.rightKidney, .native), (.leftKidney, .native): (36, 5)
    case (.aorta, .native): (43, 5)
    case (.liver, .portalVenous): (108, 10)
    case (.spleen, .portalVenous): (118, 10)
    case (.rightKidney, .portalVenous), (.leftKidney, .portalVenous): (175, 15)
    case (.aorta, .portalVenous): (150, 12)
    case (.stomach, _): (36, 8)
    case (.gallbladder, _): (12, 5)
    case (.bladder, _): (8, 4)
    }
  }
}

/// When the scan was made.
public enum PhantomPhase: String, CaseIterable, Sendable {
  /// Without contrast medium: the organs differ by a few HU.
  case native
  /// About 70 s after an injection, as most abdominal CTs are: liver, spleen, pancreas, kidneys and vessels are brighter than the rest,
  /// but hardly differ from one another or from bone marrow.
  case portalVenous = "venous"

  /// What contrast medium adds. Units: HU.
  var blood: Float { self == .native ? 0 : 107 }
  var muscle: Float { self == .native ? 0 : 8 }
  var bowel: Float { self == .native ? 0 : 14 }
  var pancreas: Float { self == .native ? 0 : 60 }
}
