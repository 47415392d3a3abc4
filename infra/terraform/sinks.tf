# Nodes get the rights and the ways out that the sinks of the apps document need. Lambda functions
# deliver to no sink.

locals {
  sink_statements = concat(
    length(var.sink_queue_arns) == 0 ? [] : [{
      Sid      = "SinkQueues"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = var.sink_queue_arns
    }],
    length(var.sink_stream_arns) == 0 ? [] : [{
      Sid      = "SinkStreams"
      Effect   = "Allow"
      Action   = ["kinesis:PutRecords"]
      Resource = var.sink_stream_arns
    }],
    length(var.sink_secret_arns) == 0 ? [] : [{
      Sid      = "SinkSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = var.sink_secret_arns
    }],
    # To write into a queue or a stream takes a data key; SQS asks for decrypting, too.
    length(var.sink_kms_key_arns) == 0 ? [] : [{
      Sid      = "SinkKeys"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = var.sink_kms_key_arns
    }],
  )

  sink_environment = length(var.sink_networks) == 0 ? [] : [
    { name = "FLEETWIRE_SINK_NETWORKS", value = join(",", var.sink_networks) },
  ]
}

# Port 443 is open to everywhere already.
resource "aws_vpc_security_group_egress_rule" "sink" {
  for_each          = { for e in var.sink_egress : "${e.cidr}:${e.port}" => e }
  security_group_id = aws_security_group.this["nodes"].id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  description       = "Sinks"
  tags              = var.tags
}
