"""What `@task` and `@workflow` are made of: their options, registered names, and when a name is taken."""
