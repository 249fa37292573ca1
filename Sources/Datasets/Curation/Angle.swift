internal import Glibc

/// The angle whose opposite and adjacent sides are given. Units: degrees.
func angle(_ opposite: Double, _ adjacent: Double) -> Double { atan2(opposite, adjacent) * 180 / .pi }
