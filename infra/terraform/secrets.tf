# The apps document. Terraform makes the place and never sees the content, which
# would lie in its state:
#   aws secretsmanager put-secret-value --secret-id ARN --secret-string file://apps.json
resource "aws_secretsmanager_secret" "apps" {
  name                    = "${var.name}/apps"
  description             = "Fleetwire's apps document: apps, plans, keys"
  recovery_window_in_days = 7
}

# Letters and digits alone: the password stands in a URL, and ElastiCache takes
# few punctuation marks.
data "aws_secretsmanager_random_password" "redis" {
  password_length     = 64
  exclude_punctuation = true
}

# The data source draws a new password at every plan; this keeps the one drawn
# when redis_password_version was last raised.
resource "terraform_data" "redis_password" {
  input            = data.aws_secretsmanager_random_password.redis.random_password
  triggers_replace = var.redis_password_version

  lifecycle {
    ignore_changes = [input]
  }
}

locals {
  redis_password = sensitive(terraform_data.redis_password.output)
}

resource "aws_secretsmanager_secret" "redis_url" {
  name                    = "${var.name}/redis-url"
  description             = "Fleetwire's Redis: URL with the password"
  recovery_window_in_days = 7
}

# From the replication group and not from the password alone: the secret changes
# only when Redis knows the password.
resource "aws_secretsmanager_secret_version" "redis_url" {
  secret_id     = aws_secretsmanager_secret.redis_url.id
  secret_string = "rediss://:${local.redis_password}@${aws_elasticache_replication_group.this.primary_endpoint_address}:${local.redis_port}/0"
}
