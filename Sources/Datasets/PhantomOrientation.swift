/// How a phantom's file stores its voxels: where the first, second and third file axis point in the patient
/// (Left or Right, Posterior or Anterior, Superior or Inferior).
public enum PhantomOrientation: String, CaseIterable, Sendable {
  case lps = "LPS"
  case ras = "RAS"
  case las = "LAS"
  case lpi = "LPI"
  case rps = "RPS"
  case psl = "PSL"
  case asr = "ASR"
  case lsa = "LSA"

  /// For each file axis the patient axis (0 left, 1 posterior, 2 superior) and whether it runs the other way.
  var axes: [(patient: Int, flipped: Bool)] {
    rawValue.map { letter in
      switch letter {
      case "L": (0, false)
      case "R": (0, true)
      case "P": (1, false)
      case "A": (1, true)
      case "S": (2, false)
      default: (2, true)
      }
    }
  }
}
