"""Pictures drawn by the package: digits, clothes and faces, for where no original can be had."""
