"""The self-test behind `currant bench`: what it measures, how it judges that, and how it shows it."""
